/* Bounded reading and writing: what bytes.h and checksum.h promise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "bytes.h"
#include "checksum.h"

static void
test_bytes_I1_reader_stops_at_the_end_for_good(void **state)
{
	static const uint8_t five[] = { 1, 2, 3, 4, 5 };
	struct em_reader r = em_reader((struct em_span){ five, 5 });

	(void)state;
	assert_int_equal(em_read_u32(&r), 0x04030201);
	assert_false(em_reader_done(&r));
	assert_int_equal(em_read_u16(&r), 0);
	assert_true(r.bad);
	assert_int_equal(em_read_u8(&r), 0);	/* one byte was left, but a short read is for good */
	assert_int_equal(em_reader_left(&r), 0);
	assert_false(em_reader_done(&r));
}

static void
test_bytes_I1_length_beyond_the_end_is_bad(void **state)
{
	static const uint8_t claim[] = { 0xff, 0xff, 0xff, 0xff, 1 };
	struct em_reader r = em_reader((struct em_span){ claim, 5 });

	(void)state;
	assert_null(em_read_lspan(&r).bytes);
	assert_true(r.bad);
}

static void
test_bytes_write_then_read_gives_the_same(void **state)
{
	struct em_buf b = { 0 };
	struct em_reader r;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		em_buf_u8(&b, (uint8_t)i);
		em_buf_u16(&b, (uint16_t)(i * 77));
		em_buf_u32(&b, i * 0x1234567u);
		em_buf_u64(&b, i * 0x123456789abcdefu);
		em_buf_lspan(&b, em_span_str("word"));
	}
	r = em_reader(em_buf_view(&b));
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(em_read_u8(&r), (uint8_t)i);
		assert_int_equal(em_read_u16(&r), (uint16_t)(i * 77));
		assert_int_equal(em_read_u32(&r), i * 0x1234567u);
		assert_true(em_read_u64(&r) == i * 0x123456789abcdefu);
		assert_true(em_span_is(em_read_lspan(&r), "word"));
	}
	assert_true(em_reader_done(&r));
	em_buf_consume(&b, b.len - 8);
	assert_memory_equal(b.data + 4, "word", 4);
	em_buf_clear(&b);
}

static void
test_bytes_absent_and_empty_differ(void **state)
{
	(void)state;
	assert_false(em_span_eq(EM_SPAN_NONE, em_span_str("")));
	assert_true(em_span_eq(EM_SPAN_NONE, EM_SPAN_NONE));
	assert_true(em_span_eq(em_span_str(""), em_span_str("")));
	assert_true(em_span_starts(em_span_str("protocoltype"), "proto"));
	assert_false(em_span_starts(em_span_str("pro"), "proto"));
}

static void
test_bytes_printf_grows(void **state)
{
	char *s = em_asprintf("%0500d", 7);

	(void)state;
	assert_int_equal(strlen(s), 500);
	assert_int_equal(s[499], '7');
	free(s);
}

static void
test_checksum_I1_known_values(void **state)
{
	uint8_t zeros[32] = { 0 };

	(void)state;
	/* RFC 3720, appendix B.4. */
	assert_int_equal(em_crc32c(0, zeros, 32), 0x8a9136aa);
	assert_int_equal(em_crc32c(0, "123456789", 9), 0xe3069283);
}

static void
test_checksum_I2_parts_join(void **state)
{
	const char *text = "the quick brown fox jumps over the lazy dog";
	uint32_t whole = em_crc32c(0, text, strlen(text));

	(void)state;
	for (size_t cut = 0; cut <= strlen(text); cut++)
		assert_int_equal(em_crc32c(em_crc32c(0, text, cut), text + cut, strlen(text) - cut), whole);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_I1_reader_stops_at_the_end_for_good),
		cmocka_unit_test(test_bytes_I1_length_beyond_the_end_is_bad),
		cmocka_unit_test(test_bytes_write_then_read_gives_the_same),
		cmocka_unit_test(test_bytes_absent_and_empty_differ),
		cmocka_unit_test(test_bytes_printf_grows),
		cmocka_unit_test(test_checksum_I1_known_values),
		cmocka_unit_test(test_checksum_I2_parts_join),
	};

	return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}
