/* Records and batches: what record.h promises, with random records and every truncation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "error.h"
#include "message.h"
#include "record.h"
#include "utf8.h"

static uint32_t
next(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static void
fill(struct em_record *record, uint32_t *seed, struct em_buf *extensions)
{
	static const uint8_t any[] = "abc\0\xff\x80 def\xc3\xa9";

	*record = (struct em_record){ .timestamp_ms = (int64_t)next(seed) - 5000 };
	for (int i = 0; i < EM_FIELDS; i++) {
		bool text = i >= EM_FIELD_ID && i <= EM_FIELD_DATASCHEMA;

		if (i != EM_FIELD_EXTENSIONS && next(seed) % 3 > 0)
			record->field[i] = text ? em_span_str("texte \xc3\xa9") : (struct em_span){ any, next(seed) % 12 };
	}
	em_buf_reset(extensions);
	em_attribute_string(extensions, "word", em_span_str("x\xe2\x82\xac"));
	em_attribute_integer(extensions, "n1", (int32_t)next(seed));
	em_attribute_encode(extensions, &(struct em_attribute){ EM_SPAN_LITERAL("raw"), EM_TYPE_BINARY, { any, 6 } });
	record->field[EM_FIELD_EXTENSIONS] = em_buf_view(extensions);
}

static void
assert_same(const struct em_record *a, const struct em_record *b)
{
	assert_true(a->timestamp_ms == b->timestamp_ms);
	for (int i = 0; i < EM_FIELDS; i++)
		assert_true(em_span_eq(a->field[i], b->field[i]));
}

static void
test_record_I3_round_trip_keeps_absent_and_empty(void **state)
{
	struct em_buf b = { 0 }, extensions = { 0 };
	uint32_t seed = 1;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		struct em_record in, out;
		struct em_reader r;

		fill(&in, &seed, &extensions);
		em_buf_reset(&b);
		em_record_encode(&b, &in);
		r = em_reader(em_buf_view(&b));
		assert_int_equal(em_record_decode(&r, &out, NULL), 0);
		assert_true(em_reader_done(&r));
		assert_same(&in, &out);
	}
	em_buf_clear(&b);
	em_buf_clear(&extensions);
}

static void
test_record_I2_every_truncation_and_flip_is_survived(void **state)
{
	struct em_buf b = { 0 }, extensions = { 0 };
	struct em_record in, out;
	uint32_t seed = 5;

	(void)state;
	fill(&in, &seed, &extensions);
	em_record_encode(&b, &in);
	for (size_t n = 0; n < b.len; n++) {
		uint8_t *copy = malloc(n + 1);	/* exact size, so that the sanitizer sees a step too far */
		struct em_reader r = em_reader((struct em_span){ copy, n });

		memcpy(copy, b.data, n);
		assert_int_equal(em_record_decode(&r, &out, NULL), -1);
		free(copy);
	}
	for (size_t bit = 0; bit < b.len * 8; bit++) {
		struct em_reader r = em_reader(em_buf_view(&b));

		b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		(void)em_record_decode(&r, &out, NULL);
		b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	em_buf_clear(&b);
	em_buf_clear(&extensions);
}

static void
test_record_I2_bad_text_and_names_are_refused(void **state)
{
	static const struct { const char *name; enum em_type type; const char *value; size_t len; } bad[] = {
		{ "Upper", EM_TYPE_STRING, "x", 1 }, { "", EM_TYPE_STRING, "x", 1 },
		{ "da-sh", EM_TYPE_STRING, "x", 1 }, { "s", EM_TYPE_STRING, "\xff", 1 },
		{ "i", EM_TYPE_INTEGER, "abc", 3 }, { "b", EM_TYPE_BOOLEAN, "\2", 1 }, { "u", EM_TYPE_URI, "\xc0\x80", 2 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct em_buf list = { 0 };
		struct em_record record = { 0 };
		struct em_error err = EM_ERROR_INIT;

		em_attribute_encode(&list, &(struct em_attribute){ em_span_str(bad[i].name), bad[i].type,
		    { (const uint8_t *)bad[i].value, bad[i].len } });
		record.field[EM_FIELD_EXTENSIONS] = em_buf_view(&list);
		assert_int_equal(em_record_check(&record, &err), -1);
		assert_true(err.code == EM_EPROTO || err.code == EM_ELIMIT);
		em_error_clear(&err);
		em_buf_clear(&list);
	}
}

static void
test_record_utf8_is_rfc_3629(void **state)
{
	static const struct { const char *s; bool good; } rows[] = {
		{ "", true }, { "plain ascii, longer than eight", true }, { "\xc3\xa9", true }, { "\xe2\x82\xac", true },
		{ "\xf0\x9f\x98\x80", true }, { "\xf4\x8f\xbf\xbf", true }, { "\x80", false }, { "\xc0\x80", false },
		{ "\xc1\xbf", false }, { "\xe0\x80\x80", false }, { "\xed\xa0\x80", false }, { "\xf0\x80\x80\x80", false },
		{ "\xf4\x90\x80\x80", false }, { "\xf5\x80\x80\x80", false }, { "12345678\xff", false }, { "\xe2\x82", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(em_is_utf8(em_span_str(rows[i].s)), rows[i].good);
}

static void
test_batch_owns_its_bytes_and_refuses_leftovers(void **state)
{
	struct em_buf b = { 0 }, extensions = { 0 };
	struct em_record in[3];
	struct em_batch *batch;
	struct em_frame f;
	struct em_list l;
	uint32_t sequence = 0, seed = 9;

	(void)state;
	l = em_list_begin(&b, &sequence, EM_RECORDS);
	for (int i = 0; i < 3; i++) {
		fill(&in[i], &seed, &extensions);
		in[i].field[EM_FIELD_EXTENSIONS] = EM_SPAN_NONE;
		em_list_record(&l, &in[i]);
	}
	em_list_end(&l);
	f = em_frame_decode(em_buf_view(&b));
	batch = em_batch_decode(f.payload, NULL);
	assert_non_null(batch);
	memset(b.data, 0xee, b.len);	/* the batch does not look at the source any more */
	assert_int_equal(batch->count, 3);
	for (int i = 0; i < 3; i++)
		assert_same(&in[i], &batch->records[i]);
	em_batch_unref(em_batch_ref(batch));
	em_batch_unref(batch);
	em_buf_reset(&b);
	l = em_list_begin(&b, &sequence, EM_RECORDS);
	em_list_record(&l, &in[0]);
	em_list_end(&l);
	em_buf_u8(&b, 0);
	assert_null(em_batch_decode((struct em_span){ b.data + EM_FRAME_HEADER, b.len - EM_FRAME_HEADER }, NULL));
	em_buf_clear(&b);
	em_buf_clear(&extensions);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record_I3_round_trip_keeps_absent_and_empty),
		cmocka_unit_test(test_record_I2_every_truncation_and_flip_is_survived),
		cmocka_unit_test(test_record_I2_bad_text_and_names_are_refused),
		cmocka_unit_test(test_record_utf8_is_rfc_3629),
		cmocka_unit_test(test_batch_owns_its_bytes_and_refuses_leftovers),
	};

	return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
