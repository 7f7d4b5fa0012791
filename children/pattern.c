#include "pattern.h"

#include <stdio.h>
#include <stdlib.h>

const struct pattern_row pattern_rows[] = {
	[PATTERN_TEXT] = { "text", "text/plain" },
	[PATTERN_JSON] = { "json", "application/json" },
	[PATTERN_BINARY] = { "binary", "application/octet-stream" },
	{ NULL, NULL },
};
_Static_assert(sizeof(pattern_rows) / sizeof(pattern_rows[0]) == PATTERN_CONTENTS + 1,
    "a row for every content");

void
pattern_fill(struct em_buf *b, enum pattern_content content, size_t size, int64_t partition,
    int64_t number)
{
	const char *quote = content == PATTERN_JSON ? "\"" : "";
	size_t end = strlen(quote);
	uint32_t x = (uint32_t)((uint64_t)partition * 2654435761u + (uint64_t)number);
	uint8_t *p;

	em_buf_reset(b);
	em_buf_printf(b, "%s%lld:%lld:", quote, (long long)partition, (long long)number);
	if (b->len + end < size) {
		p = em_buf_reserve(b, size - end - b->len);
		for (size_t n = size - end - b->len; n > 0; n--) {
			x = x * 1664525u + 1013904223u;
			*p++ = content == PATTERN_BINARY ? (uint8_t)(x >> 24) : (uint8_t)('a' + (x >> 24) % 26);
		}
		b->len = size - end;
	}
	em_buf_str(b, quote);
}

bool
pattern_check(struct em_span data, enum pattern_content content, struct em_buf *scratch)
{
	struct em_span head = { data.bytes, data.len < 48 ? data.len : 48 };
	long long partition, number;
	char *text = em_span_dup(head);
	int n = sscanf(text, content == PATTERN_JSON ? "\"%lld:%lld:" : "%lld:%lld:", &partition, &number);

	free(text);
	if (n != 2)
		return false;
	pattern_fill(scratch, content, data.len, partition, number);
	return em_span_eq(em_buf_view(scratch), data);
}
