/* The ledger against a slow and obvious model: what ledger.h promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"
#include "ledger.h"
#include "record.h"

#define PARTITIONS	5
#define BATCHES		40
#define SIZE		8

struct model {
	int	partition[BATCHES * SIZE];
	int	done[BATCHES * SIZE];
	int	told[PARTITIONS];	/* last record number told for a partition, -1 none */
	int	count;
};

static struct em_batch *
make_batch(struct model *m, int partitions)
{
	struct em_buf b = { 0 };
	struct em_batch *batch;

	em_buf_u32(&b, SIZE);
	for (int i = 0; i < SIZE; i++) {
		struct em_record record = { 0 };
		char partition[16], offset[16];

		m->partition[m->count] = rand() % partitions;
		snprintf(partition, sizeof(partition), "p%d", m->partition[m->count]);
		snprintf(offset, sizeof(offset), "%d", m->count);
		record.field[EM_FIELD_PARTITION] = em_span_str(partition);
		record.field[EM_FIELD_OFFSET] = em_span_str(offset);
		em_record_encode(&b, &record);
		m->count++;
	}
	batch = em_batch_decode(em_buf_view(&b), NULL);
	assert_non_null(batch);
	em_buf_clear(&b);
	return batch;
}

/* The last record of the partition before its first open one, -1 if there is none. */
static int
model_position(const struct model *m, int partition)
{
	int last = -1;

	for (int i = 0; i < m->count; i++) {
		if (m->partition[i] != partition)
			continue;
		if (!m->done[i])
			break;
		last = i;
	}
	return last;
}

static void
check(struct ledger *l, struct model *m)
{
	size_t n;
	const struct em_position *p = ledger_collect(l, &n);
	uint32_t records, bytes;
	int changed = 0;

	for (size_t i = 0; i < n; i++) {
		int partition = p[i].partition.bytes[1] - '0';
		char *text = em_span_dup(p[i].offset);
		int offset = atoi(text);

		assert_int_equal(offset, model_position(m, partition));
		assert_true(offset > m->told[partition]);
		free(text);
	}
	for (int i = 0; i < PARTITIONS; i++)
		if (model_position(m, i) != m->told[i])
			changed++;
	assert_int_equal(changed, n);
	if (rand() % 4 == 0) {	/* I4: the commit fails now and then, and must be offered again */
		ledger_revert(l);
		p = ledger_collect(l, &n);
		assert_true(n >= (size_t)changed);
	}
	for (int i = 0; i < PARTITIONS; i++)
		m->told[i] = model_position(m, i);
	ledger_commit(l, &records, &bytes);
}

static void
walk(unsigned seed, int partitions)
{
	struct ledger *l = ledger_new();
	struct ledger_entry *entries[BATCHES];
	struct model m = { .told = { -1, -1, -1, -1, -1 } };
	int order[BATCHES * SIZE], n = BATCHES * SIZE;

	srand(seed);
	for (int i = 0; i < BATCHES; i++) {
		struct em_batch *batch = make_batch(&m, partitions);

		entries[i] = ledger_add(l, batch);
		em_batch_unref(batch);
	}
	for (int i = 0; i < n; i++)
		order[i] = i;
	for (int i = 0; i < n; i++) {	/* neighbours swap, as acknowledgements do */
		int j = i + rand() % (n - i < 12 ? n - i : 12), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (int i = 0; i < n; i++) {
		ledger_done(l, entries[order[i] / SIZE], (uint32_t)(order[i] % SIZE), 1);
		m.done[order[i]] = 1;
		assert_int_equal(ledger_open(l), n - i - 1);
		if (rand() % 5 == 0)
			check(l, &m);
	}
	check(l, &m);
	assert_true(ledger_is_empty(l));
	ledger_free(l);
}

static void
test_ledger_I1_I4_position_is_the_contiguous_prefix(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 200; seed++)
		walk(seed, 1 + (int)seed % PARTITIONS);
}

static void
test_ledger_I2_a_stuck_record_holds_back_its_own_partition(void **state)
{
	struct ledger *l = ledger_new();
	struct model m = { 0 };
	struct em_batch *batch;
	struct ledger_entry *e;
	const struct em_position *p;
	size_t n;

	(void)state;
	srand(3);
	batch = make_batch(&m, 2);
	e = ledger_add(l, batch);
	em_batch_unref(batch);
	ledger_done(l, e, 1, SIZE - 1);		/* the first record is stuck */
	p = ledger_collect(l, &n);
	assert_int_equal(n, 1);
	assert_true(p[0].partition.bytes[1] - '0' != m.partition[0]);
	ledger_free(l);
}

static void
test_ledger_I3_credit_comes_back_with_the_batch(void **state)
{
	struct ledger *l = ledger_new();
	struct model m = { 0 };
	struct em_batch *batch = make_batch(&m, 1);
	struct ledger_entry *e = ledger_add(l, batch);
	uint32_t records, bytes, size = (uint32_t)batch->size_bytes;
	size_t n;

	(void)state;
	em_batch_unref(batch);
	ledger_done(l, e, 0, SIZE - 1);
	ledger_collect(l, &n);
	ledger_commit(l, &records, &bytes);
	assert_int_equal(records, 0);
	ledger_done(l, e, SIZE - 1, 1);
	ledger_collect(l, &n);
	ledger_commit(l, &records, &bytes);
	assert_int_equal(records, SIZE);
	assert_int_equal(bytes, size);
	ledger_free(l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ledger_I1_I4_position_is_the_contiguous_prefix),
		cmocka_unit_test(test_ledger_I2_a_stuck_record_holds_back_its_own_partition),
		cmocka_unit_test(test_ledger_I3_credit_comes_back_with_the_batch),
	};

	return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
