/* The record protocol's messages: what their header promises, message by message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "error.h"
#include "message.h"
#include "record.h"

static struct em_frame
only_frame(const struct em_buf *b)
{
	long n = em_frame_cut(em_buf_view(b), EM_PAYLOAD_MAX, NULL);

	assert_int_equal(n, b->len);
	return em_frame_decode(em_buf_view(b));
}

static void
test_message_I1_row_decides_direction_state_and_length(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 40; type++) {
		const struct em_message_row *row = em_message_row(type);

		for (unsigned s = 0; s < EM_CHANNELS; s++) {
			for (int child = 0; child < 2; child++) {
				static const uint8_t zeros[64];
				struct em_frame f = { .type = (uint8_t)type, .payload = { zeros, row ? row->min : 0 } };
				bool allowed = row != NULL && (row->states >> s & 1) != 0 &&
				    (child ? row->from_child : row->from_supervisor);
				struct em_error err = EM_ERROR_INIT;

				assert_true(row == NULL || row->min <= sizeof(zeros));
				assert_int_equal(em_message_check(&f, child, (enum em_channel)s, &err),
				    allowed ? 0 : -1);
				assert_int_equal(err.code, allowed ? EM_OK : EM_EPROTO);
				em_error_clear(&err);
				if (!allowed)
					continue;
				f.payload.len = row->max + 1;
				assert_int_equal(em_message_check(&f, child, (enum em_channel)s, NULL), -1);
				if (row->min > 0) {
					f.payload.len = row->min - 1;
					assert_int_equal(em_message_check(&f, child, (enum em_channel)s, NULL), -1);
				}
			}
		}
	}
}

static void
test_message_I2_hello_round_trip(void **state)
{
	struct em_hello in = { 1, 7, 123456, EM_SOURCE | EM_SINK, EM_SPAN_LITERAL("file"), EM_SPAN_LITERAL("0.1") };
	struct em_hello out;
	struct em_buf b = { 0 };
	uint32_t sequence = 0;
	struct em_frame f;

	(void)state;
	em_encode_hello(&b, &sequence, &in);
	f = only_frame(&b);
	assert_int_equal(f.type, EM_HELLO);
	assert_int_equal(f.sequence, 1);
	assert_int_equal(em_decode_hello(f.payload, &out, NULL), 0);
	assert_int_equal(out.major, 1);
	assert_int_equal(out.minor, 7);
	assert_int_equal(out.payload_max, 123456);
	assert_int_equal(out.roles, 3);
	assert_true(em_span_is(out.name, "file"));
	assert_true(em_span_is(out.version, "0.1"));
	for (size_t n = 0; n < f.payload.len; n++)	/* every truncation is refused */
		assert_int_equal(em_decode_hello((struct em_span){ f.payload.bytes, n }, &out, NULL), -1);
	em_buf_clear(&b);
}

static void
test_message_I2_configure_round_trip_with_positions(void **state)
{
	struct em_position p[2] = {
		{ EM_SPAN_LITERAL("part\0one"), EM_SPAN_LITERAL("17") },
		{ EM_SPAN_LITERAL(""), EM_SPAN_LITERAL("") },
	};
	struct em_buf list = { 0 }, b = { 0 };
	struct em_configure in, out;
	struct em_position got;
	struct em_reader r;
	struct em_frame f;
	uint32_t sequence = 41;

	(void)state;
	em_position_encode(&list, &p[0]);
	em_position_encode(&list, &p[1]);
	in = (struct em_configure){ EM_SINK, 1, 3, 65536, 5000, EM_SPAN_LITERAL("orders"), EM_SPAN_LITERAL("t"),
		EM_SPAN_LITERAL("{}"), 2, em_buf_view(&list) };
	em_encode_configure(&b, &sequence, &in);
	f = only_frame(&b);
	assert_int_equal(f.sequence, 42);
	assert_int_equal(em_decode_configure(f.payload, &out, NULL), 0);
	assert_int_equal(out.role, EM_SINK);
	assert_int_equal(out.task, 1);
	assert_int_equal(out.tasks, 3);
	assert_int_equal(out.heartbeat_ms, 5000);
	assert_true(em_span_is(out.options, "{}"));
	r = em_reader(out.offsets);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(em_position_next(&r, &got, NULL), 0);
		assert_true(em_span_eq(got.partition, p[i].partition));
		assert_true(em_span_eq(got.offset, p[i].offset));
	}
	assert_true(em_reader_done(&r));
	for (size_t n = 0; n < f.payload.len; n++)
		assert_int_equal(em_decode_configure((struct em_span){ f.payload.bytes, n }, &out, NULL), -1);
	em_buf_clear(&b);
	em_buf_clear(&list);
}

static void
test_message_I2_result_ranges_round_trip(void **state)
{
	struct em_buf b = { 0 };
	uint32_t sequence = 0, batch, count;
	struct em_list l = em_result_begin(&b, &sequence, 99);
	struct em_result got;
	struct em_reader r;
	struct em_frame f;

	(void)state;
	em_list_result(&l, &(struct em_result){ 0, 10, EM_DELIVERED, EM_SPAN_LITERAL("") });
	em_list_result(&l, &(struct em_result){ 10, 1, EM_REJECTED, EM_SPAN_LITERAL("no such table") });
	em_list_end(&l);
	f = only_frame(&b);
	assert_int_equal(em_decode_result(f.payload, &batch, &count, &r, NULL), 0);
	assert_int_equal(batch, 99);
	assert_int_equal(count, 2);
	assert_int_equal(em_result_next(&r, &got, NULL), 0);
	assert_int_equal(got.count, 10);
	assert_int_equal(em_result_next(&r, &got, NULL), 0);
	assert_int_equal(got.outcome, EM_REJECTED);
	assert_true(em_span_is(got.reason, "no such table"));
	assert_true(em_reader_done(&r));
	em_buf_clear(&b);
}

static void
test_message_I2_log_failure_credit_metrics_round_trip(void **state)
{
	struct em_buf b = { 0 }, pairs = { 0 };
	uint32_t sequence = 0, records, bytes, count;
	struct em_log_line line;
	struct em_failure failure;
	struct em_metric metric;
	struct em_reader r;
	struct em_list l;

	(void)state;
	em_buf_lspan(&pairs, EM_SPAN_LITERAL("file"));
	em_buf_lspan(&pairs, EM_SPAN_LITERAL("/x"));
	em_encode_log(&b, &sequence, &(struct em_log_line){ 3, EM_SPAN_LITERAL("hot"), 1, em_buf_view(&pairs) });
	assert_int_equal(em_decode_log(only_frame(&b).payload, &line, NULL), 0);
	assert_true(em_span_is(line.text, "hot"));
	assert_int_equal(line.pairs_count, 1);
	em_buf_reset(&b);
	em_encode_failure(&b, &sequence, &(struct em_failure){ EM_CLASS_FATAL, EM_SPAN_LITERAL("gone") });
	assert_int_equal(em_decode_failure(only_frame(&b).payload, &failure, NULL), 0);
	assert_int_equal(failure.class, EM_CLASS_FATAL);
	em_buf_reset(&b);
	em_encode_credit(&b, &sequence, 5, 6);
	assert_int_equal(em_decode_credit(only_frame(&b).payload, &records, &bytes, NULL), 0);
	assert_int_equal(records, 5);
	assert_int_equal(bytes, 6);
	em_buf_reset(&b);
	l = em_list_begin(&b, &sequence, EM_METRICS);
	em_list_metric(&l, &(struct em_metric){ EM_SPAN_LITERAL("read_total"), 1.5 });
	em_list_end(&l);
	assert_int_equal(em_decode_list(only_frame(&b).payload, &count, &r, NULL), 0);
	assert_int_equal(em_metric_next(&r, &metric, NULL), 0);
	assert_true(metric.value == 1.5);
	em_buf_clear(&b);
	em_buf_clear(&pairs);
}

static void
test_message_I3_impossible_counts_are_refused(void **state)
{
	static const uint8_t huge[] = { 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4 };
	struct em_span s = { huge, sizeof(huge) };
	struct em_reader r;
	uint32_t count, batch;

	(void)state;
	assert_int_equal(em_decode_list(s, &count, &r, NULL), -1);
	assert_int_equal(em_decode_result(s, &batch, &count, &r, NULL), -1);
	assert_null(em_batch_decode(s, NULL));
}

static void
test_frame_I1_too_large_is_refused_from_the_header(void **state)
{
	struct em_buf b = { 0 };
	struct em_error err = EM_ERROR_INIT;

	(void)state;
	em_buf_u32(&b, 1001);
	em_buf_u32(&b, 1);
	em_buf_u32(&b, 1);
	assert_int_equal(em_frame_cut(em_buf_view(&b), 1000, &err), -1);
	assert_int_equal(err.code, EM_ELIMIT);
	em_error_clear(&err);
	assert_int_equal(em_frame_cut(em_buf_view(&b), 1001, &err), 0);
	b.data[6] = 1;
	assert_int_equal(em_frame_cut(em_buf_view(&b), 1001, &err), -1);
	em_error_clear(&err);
	em_buf_clear(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message_I1_row_decides_direction_state_and_length),
		cmocka_unit_test(test_message_I2_hello_round_trip),
		cmocka_unit_test(test_message_I2_configure_round_trip_with_positions),
		cmocka_unit_test(test_message_I2_result_ranges_round_trip),
		cmocka_unit_test(test_message_I2_log_failure_credit_metrics_round_trip),
		cmocka_unit_test(test_message_I3_impossible_counts_are_refused),
		cmocka_unit_test(test_frame_I1_too_large_is_refused_from_the_header),
	};

	return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
