#include "json.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "error.h"
#include "utf8.h"

/* Where scanning stands. All helpers return false on bad text; the place is then p. */
struct scan {
	const uint8_t	*start, *p, *end;
};

static int
bad(const struct scan *s, const char *what, struct em_error *err)
{
	return em_error_set(err, EM_ESYNTAX, "JSON: %s at byte %zu", what, (size_t)(s->p - s->start));
}

static void
blanks(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
		s->p++;
}

/* The next byte of a string that is not plain ASCII text: a quote, a backslash, a control character, UTF-8. */
static const uint8_t *
skip_plain(const uint8_t *p, const uint8_t *end)
{
#ifdef __SSE2__
	const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), space = _mm_set1_epi8(0x20);

	for (; end - p >= 16; p += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
		/* Signed compare: bytes from 0x80 on are negative, hence below 0x20 too. */
		__m128i special = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, backslash)),
		    _mm_cmplt_epi8(v, space));
		unsigned mask = (unsigned)_mm_movemask_epi8(special);

		if (mask != 0)
			return p + __builtin_ctz(mask);
	}
#endif
	while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
		p++;
	return p;
}

static bool
is_hex(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool
escape(struct scan *s)
{
	if (s->end - s->p < 2)
		return false;
	switch (s->p[1]) {
	case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't':
		s->p += 2;
		return true;
	case 'u':
		if (s->end - s->p < 6)
			return false;
		for (int i = 2; i < 6; i++)
			if (!is_hex(s->p[i]))
				return false;
		s->p += 6;
		return true;
	default:
		return false;
	}
}

/* At an opening quote; leaves p behind the closing one. */
static bool
string(struct scan *s, struct em_json *v)
{
	const uint8_t *begin = ++s->p;
	size_t n;

	v->escaped = false;
	for (;;) {
		s->p = skip_plain(s->p, s->end);
		if (s->p == s->end || *s->p < 0x20)
			return false;
		if (*s->p == '"')
			break;
		if (*s->p == '\\') {
			v->escaped = true;
			if (!escape(s))
				return false;
			continue;
		}
		n = em_utf8_sequence(s->p, (size_t)(s->end - s->p));
		if (n == 0)
			return false;
		s->p += n;
	}
	v->kind = EM_JSON_STRING;
	v->text = (struct em_span){ begin, (size_t)(s->p - begin) };
	s->p++;
	return true;
}

static bool
digits(struct scan *s)
{
	const uint8_t *begin = s->p;

	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return s->p > begin;
}

static bool
number(struct scan *s)
{
	if (*s->p == '-')
		s->p++;
	if (s->p < s->end && *s->p == '0')
		s->p++;
	else if (!digits(s))
		return false;
	if (s->p < s->end && *s->p == '.') {
		s->p++;
		if (!digits(s))
			return false;
	}
	if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
		s->p++;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		if (!digits(s))
			return false;
	}
	return true;
}

static bool
word(struct scan *s, const char *w)
{
	size_t n = strlen(w);

	if ((size_t)(s->end - s->p) < n || memcmp(s->p, w, n) != 0)
		return false;
	s->p += n;
	return true;
}

/* A value that is no array and no object; v->kind tells which. */
static bool
scalar(struct scan *s, struct em_json *v)
{
	const uint8_t *begin = s->p;
	bool good;

	switch (*s->p) {
	case '"':
		return string(s, v);
	case 'n':
		v->kind = EM_JSON_NULL;
		good = word(s, "null");
		break;
	case 't':
		v->kind = EM_JSON_TRUE;
		good = word(s, "true");
		break;
	case 'f':
		v->kind = EM_JSON_FALSE;
		good = word(s, "false");
		break;
	default:
		v->kind = EM_JSON_NUMBER;
		good = (*s->p == '-' || (*s->p >= '0' && *s->p <= '9')) && number(s);
	}
	v->text = (struct em_span){ begin, (size_t)(s->p - begin) };
	return good;
}

static bool
name_and_colon(struct scan *s)
{
	struct em_json name;

	blanks(s);
	if (s->p == s->end || *s->p != '"' || !string(s, &name))
		return false;
	blanks(s);
	if (s->p == s->end || *s->p != ':')
		return false;
	s->p++;
	return true;
}

/* An array or an object from its opening bracket, without recursion: one bit a level says which it is. */
static bool
container(struct scan *s)
{
	uint64_t is_object[EM_JSON_DEPTH / 64] = { 0 };
	size_t depth = 0;
	struct em_json v;

	for (;;) {
		bool object;

		/* Here a value begins. */
		blanks(s);
		if (s->p == s->end)
			return false;
		if (*s->p == '{' || *s->p == '[') {
			if (depth == EM_JSON_DEPTH)
				return false;
			object = *s->p++ == '{';
			is_object[depth / 64] &= ~((uint64_t)1 << depth % 64);
			is_object[depth / 64] |= (uint64_t)object << depth % 64;
			depth++;
			blanks(s);
			if (s->p < s->end && *s->p == (object ? '}' : ']')) {
				s->p++;
				depth--;
			} else if (object) {
				if (!name_and_colon(s))
					return false;
				continue;
			} else {
				continue;
			}
		} else if (!scalar(s, &v)) {
			return false;
		}
		/* Here a value has ended: close what closes, or go to the next. */
		for (;;) {
			if (depth == 0)
				return true;
			object = is_object[(depth - 1) / 64] >> (depth - 1) % 64 & 1;
			blanks(s);
			if (s->p == s->end)
				return false;
			if (*s->p == ',') {
				s->p++;
				if (object && !name_and_colon(s))
					return false;
				break;
			}
			if (*s->p != (object ? '}' : ']'))
				return false;
			s->p++;
			depth--;
		}
	}
}

static bool
any_value(struct scan *s, struct em_json *v)
{
	const uint8_t *begin;

	blanks(s);
	if (s->p == s->end)
		return false;
	v->escaped = false;
	if (*s->p != '{' && *s->p != '[')
		return scalar(s, v);
	begin = s->p;
	v->kind = *s->p == '{' ? EM_JSON_OBJECT : EM_JSON_ARRAY;
	if (!container(s))
		return false;
	v->text = (struct em_span){ begin, (size_t)(s->p - begin) };
	return true;
}

static struct scan
scan_at(struct em_span text, size_t at)
{
	const uint8_t *p = text.bytes != NULL ? text.bytes : (const uint8_t *)"";

	return (struct scan){ p, p + at, p + text.len };
}

int
em_json_value(struct em_span text, size_t *at, struct em_json *value, struct em_error *err)
{
	struct scan s = scan_at(text, *at);
	struct em_json v;

	if (!any_value(&s, &v))
		return bad(&s, s.p == s.end ? "it ends too early" : "malformed value", err);
	*at = (size_t)(s.p - s.start);
	*value = v;
	return 0;
}

int
em_json_whole(struct em_span text, struct em_json *value, struct em_error *err)
{
	struct scan s = scan_at(text, 0);
	struct em_json v;

	if (!any_value(&s, &v))
		return bad(&s, s.p == s.end ? "it ends too early" : "malformed value", err);
	blanks(&s);
	if (s.p != s.end)
		return bad(&s, "something is behind the value", err);
	*value = v;
	return 0;
}

int
em_json_open(struct em_json_cursor *c, struct em_span text, struct em_error *err)
{
	struct scan s = scan_at(text, 0);

	blanks(&s);
	if (s.p == s.end || (*s.p != '{' && *s.p != '['))
		return bad(&s, "no object", err);
	c->text = text;
	c->at = (size_t)(s.p - s.start) + 1;
	c->started = false;
	return 0;
}

/* Goes to the next element: 1 there is one, 0 the closing bracket was met, -1. */
static int
element(struct em_json_cursor *c, struct scan *s, uint8_t closing, struct em_error *err)
{
	*s = scan_at(c->text, c->at);
	blanks(s);
	if (s->p == s->end)
		return bad(s, "it ends too early", err);
	if (*s->p == closing)
		return 0;
	if (c->started) {
		if (*s->p != ',')
			return bad(s, "a comma is missing", err);
		s->p++;
		blanks(s);
	}
	return 1;
}

int
em_json_next(struct em_json_cursor *c, struct em_json *name, struct em_json *value, struct em_error *err)
{
	struct em_json n, v;
	struct scan s;
	int more = element(c, &s, '}', err);

	if (more <= 0)
		return more;
	if (s.p == s.end || *s.p != '"' || !string(&s, &n))
		return bad(&s, "a member's name is malformed", err);
	blanks(&s);
	if (s.p == s.end || *s.p != ':')
		return bad(&s, "a colon is missing", err);
	s.p++;
	if (!any_value(&s, &v))
		return bad(&s, "malformed value", err);
	c->at = (size_t)(s.p - s.start);
	c->started = true;
	*name = n;
	*value = v;
	return 1;
}

int
em_json_item(struct em_json_cursor *c, struct em_json *value, struct em_error *err)
{
	struct em_json v;
	struct scan s;
	int more = element(c, &s, ']', err);

	if (more <= 0)
		return more;
	if (!any_value(&s, &v))
		return bad(&s, "malformed value", err);
	c->at = (size_t)(s.p - s.start);
	c->started = true;
	*value = v;
	return 1;
}

bool
em_json_is(const struct em_json *string_value, const char *s)
{
	return string_value->kind == EM_JSON_STRING && !string_value->escaped && em_span_is(string_value->text, s);
}

int
em_json_int64(const struct em_json *value, int64_t *v)
{
	const uint8_t *p = value->text.bytes, *end = p + value->text.len;
	bool negative;
	int64_t n = 0;

	if (value->kind != EM_JSON_NUMBER)
		return -1;
	negative = *p == '-';
	for (p += negative; p < end; p++) {
		int digit = *p - '0';

		if (digit < 0 || digit > 9 || __builtin_mul_overflow(n, 10, &n) ||
		    __builtin_sub_overflow(n, digit, &n))
			return -1;
	}
	if (!negative && __builtin_sub_overflow(0, n, &n))
		return -1;
	*v = n;
	return 0;
}
