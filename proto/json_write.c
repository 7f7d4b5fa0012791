/* The writing half of json.h, and what turns a scanned token back into bytes. */
#include "json.h"

#include "error.h"

/* What the escape of a byte is; 0: none, 'u': the long form. */
static const char escapes[256] = {
	[0x00] = 'u', [0x01] = 'u', [0x02] = 'u', [0x03] = 'u', [0x04] = 'u', [0x05] = 'u', [0x06] = 'u', [0x07] = 'u',
	['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', [0x0b] = 'u', ['\f'] = 'f', ['\r'] = 'r', [0x0e] = 'u', [0x0f] = 'u',
	[0x10] = 'u', [0x11] = 'u', [0x12] = 'u', [0x13] = 'u', [0x14] = 'u', [0x15] = 'u', [0x16] = 'u', [0x17] = 'u',
	[0x18] = 'u', [0x19] = 'u', [0x1a] = 'u', [0x1b] = 'u', [0x1c] = 'u', [0x1d] = 'u', [0x1e] = 'u', [0x1f] = 'u',
	['"'] = '"', ['\\'] = '\\',
};

static const char hex[] = "0123456789ABCDEF";

void
em_json_string(struct em_buf *b, struct em_span s)
{
	size_t from = 0;

	em_buf_reserve(b, em_size_add(s.len, 2));
	em_buf_u8(b, '"');
	for (size_t i = 0; i < s.len; i++) {
		char e = escapes[s.bytes[i]];

		if (e == 0)
			continue;
		em_buf_append(b, s.bytes + from, i - from);
		from = i + 1;
		em_buf_u8(b, '\\');
		em_buf_u8(b, (uint8_t)e);
		if (e == 'u') {
			em_buf_str(b, "00");
			em_buf_u8(b, (uint8_t)hex[s.bytes[i] >> 4]);
			em_buf_u8(b, (uint8_t)hex[s.bytes[i] & 15]);
		}
	}
	em_buf_append(b, s.bytes + from, s.len - from);
	em_buf_u8(b, '"');
}

void
em_json_cstr(struct em_buf *b, const char *s)
{
	em_json_string(b, em_span_str(s));
}

void
em_json_number(struct em_buf *b, int64_t v)
{
	uint8_t digits[20], *p = digits + sizeof(digits);
	uint64_t n = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

	do {
		*--p = (uint8_t)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	if (v < 0)
		em_buf_u8(b, '-');
	em_buf_append(b, p, (size_t)(digits + sizeof(digits) - p));
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
em_json_base64(struct em_buf *b, struct em_span s)
{
	uint8_t *out;
	size_t i;

	em_buf_u8(b, '"');
	out = em_buf_reserve(b, em_size_mul(em_size_add(s.len, 2) / 3, 4));
	for (i = 0; i + 2 < s.len; i += 3) {
		uint32_t v = (uint32_t)s.bytes[i] << 16 | (uint32_t)s.bytes[i + 1] << 8 | s.bytes[i + 2];

		*out++ = (uint8_t)alphabet[v >> 18];
		*out++ = (uint8_t)alphabet[v >> 12 & 63];
		*out++ = (uint8_t)alphabet[v >> 6 & 63];
		*out++ = (uint8_t)alphabet[v & 63];
	}
	if (i < s.len) {
		uint32_t v = (uint32_t)s.bytes[i] << 16 | (i + 1 < s.len ? (uint32_t)s.bytes[i + 1] << 8 : 0);

		*out++ = (uint8_t)alphabet[v >> 18];
		*out++ = (uint8_t)alphabet[v >> 12 & 63];
		*out++ = i + 1 < s.len ? (uint8_t)alphabet[v >> 6 & 63] : '=';
		*out++ = '=';
	}
	b->len = (size_t)(out - b->data);
	em_buf_u8(b, '"');
}

static int
sextet(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int
em_base64_decode(struct em_buf *b, struct em_span text, struct em_error *err)
{
	size_t before = b->len, n = text.len;

	if (n % 4 != 0)
		return em_error_set(err, EM_ESYNTAX, "base64 of %zu characters, not a multiple of 4", n);
	while (n > 0 && text.len - n < 2 && text.bytes[n - 1] == '=')
		n--;
	for (size_t i = 0; i < n; i += 4) {
		size_t have = n - i < 4 ? n - i : 4;
		uint32_t v = 0;

		for (size_t k = 0; k < 4; k++) {
			int six = k < have ? sextet(text.bytes[i + k]) : 0;

			if (six < 0) {
				b->len = before;
				return em_error_set(err, EM_ESYNTAX, "no base64 at character %zu", i + k);
			}
			v = v << 6 | (uint32_t)six;
		}
		for (size_t k = 0; k + 1 < have; k++)
			em_buf_u8(b, (uint8_t)(v >> (16 - 8 * k)));
	}
	return 0;
}

static uint32_t
hex4(const uint8_t *p)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++)
		v = v << 4 | (uint32_t)(p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10);
	return v;
}

static void
put_utf8(struct em_buf *b, uint32_t c)
{
	uint8_t *p = em_buf_reserve(b, 4);

	if (c < 0x80) {
		p[0] = (uint8_t)c;
		b->len += 1;
	} else if (c < 0x800) {
		p[0] = (uint8_t)(0xc0 | c >> 6);
		p[1] = (uint8_t)(0x80 | (c & 63));
		b->len += 2;
	} else if (c < 0x10000) {
		p[0] = (uint8_t)(0xe0 | c >> 12);
		p[1] = (uint8_t)(0x80 | (c >> 6 & 63));
		p[2] = (uint8_t)(0x80 | (c & 63));
		b->len += 3;
	} else {
		p[0] = (uint8_t)(0xf0 | c >> 18);
		p[1] = (uint8_t)(0x80 | (c >> 12 & 63));
		p[2] = (uint8_t)(0x80 | (c >> 6 & 63));
		p[3] = (uint8_t)(0x80 | (c & 63));
		b->len += 4;
	}
}

/* A \u escape, maybe a pair of them; returns how many characters of the text it took. */
static size_t
long_escape(struct em_buf *b, const uint8_t *p, size_t left)
{
	uint32_t c = hex4(p + 2), low;

	if (c >= 0xd800 && c < 0xdc00 && left >= 12 && p[6] == '\\' && p[7] == 'u') {
		low = hex4(p + 8);
		if (low >= 0xdc00 && low < 0xe000) {
			put_utf8(b, 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00));
			return 12;
		}
	}
	put_utf8(b, c >= 0xd800 && c < 0xe000 ? 0xfffd : c);
	return 6;
}

void
em_json_unescape(struct em_buf *b, const struct em_json *string)
{
	const uint8_t *p = string->text.bytes, *end = p + string->text.len, *back;
	static const char plain[256] = {
		['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t',
		['"'] = '"', ['\\'] = '\\', ['/'] = '/',
	};

	if (!string->escaped) {
		em_buf_span(b, string->text);
		return;
	}
	while (p < end) {
		back = memchr(p, '\\', (size_t)(end - p));
		if (back == NULL)
			back = end;
		em_buf_append(b, p, (size_t)(back - p));
		p = back;
		if (p == end)
			break;
		if (p[1] == 'u') {
			p += long_escape(b, p, (size_t)(end - p));
		} else {
			em_buf_u8(b, (uint8_t)plain[p[1]]);
			p += 2;
		}
	}
}

/* Integers of any length; decimals that a double holds and that Java's Double.toString and ECMAScript both print back
 * the same: at most 15 digits, no exponent, no zero at the end, 0.001 <= |x| < 10^7. */
static bool
number_is_plain(const uint8_t *p, size_t n)
{
	size_t dot = 0, digits = 0;
	bool negative = n > 0 && p[0] == '-';

	p += negative;
	n -= negative;
	for (size_t i = 0; i < n; i++) {
		if (p[i] == 'e' || p[i] == 'E')
			return false;
		if (p[i] == '.')
			dot = i;
		else
			digits++;
	}
	if (dot == 0)
		return !(negative && n == 1 && p[0] == '0');
	if (digits > 15 || p[n - 1] == '0' || dot > 7)
		return false;
	return p[0] != '0' || (n > 2 && (p[2] != '0' || (n > 3 && (p[3] != '0' || (n > 4 && p[4] != '0')))));
}

/* A string, from its opening quote; returns its end or NULL. Any character but controls and quotes stands for itself. */
static const uint8_t *
string_is_plain(const uint8_t *p, const uint8_t *end)
{
	for (p++; p < end && *p != '"'; p++) {
		if (*p == 0x7f || *p < 0x20)
			return NULL;	/* writers differ on DEL */
		if (*p != '\\')
			continue;
		if (++p == end || *p == 'u' || *p == '/')
			return NULL;
	}
	return p < end ? p + 1 : NULL;
}

bool
em_json_is_plain(struct em_span text)
{
	const uint8_t *p = text.bytes, *end, *begin;
	struct em_json whole;

	if (em_json_whole(text, &whole, NULL) != 0)
		return false;
	for (end = p + text.len; p < end;) {
		if (*p == '"') {
			p = string_is_plain(p, end);
			if (p == NULL)
				return false;
		} else if (*p == '-' || (*p >= '0' && *p <= '9')) {
			for (begin = p; p < end && strchr("+-.eE0123456789", *p) != NULL && *p != 0; p++)
				;
			if (!number_is_plain(begin, (size_t)(p - begin)))
				return false;
		} else if (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r') {
			return false;
		} else {
			p++;
		}
	}
	return true;
}
