#include "ledger.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "bytes.h"
#include "checksum.h"
#include "record.h"

enum mark { OPEN, DONE, COLLECTED };

struct ledger_entry {
	STAILQ_ENTRY(ledger_entry) link;
	struct em_batch	*batch;
	uint32_t	 open;			/* records not done */
	uint32_t	 waiting;		/* records not collected */
	uint8_t		 marks[];		/* enum mark of every record */
};

/* One partition met while collecting. */
struct slot {
	struct em_position position;		/* offset absent: none advanced */
	bool		 used, blocked;
};

struct ledger {
	STAILQ_HEAD(, ledger_entry) entries;
	struct slot	*slots;			/* open addressing, a power of two */
	size_t		 slots_size, slots_used;
	struct em_position *positions;
	size_t		 positions_size;
	size_t		 open;
};

#define SLOTS_LEAST	16u

struct ledger *
ledger_new(void)
{
	struct ledger *l = em_calloc(1, sizeof(*l));

	STAILQ_INIT(&l->entries);
	l->slots_size = SLOTS_LEAST;
	l->slots = em_calloc(l->slots_size, sizeof(*l->slots));
	return l;
}

static void
entry_free(struct ledger_entry *e)
{
	em_batch_unref(e->batch);
	free(e);
}

void
ledger_free(struct ledger *l)
{
	struct ledger_entry *e;

	if (l == NULL)
		return;
	while ((e = STAILQ_FIRST(&l->entries)) != NULL) {
		STAILQ_REMOVE_HEAD(&l->entries, link);
		entry_free(e);
	}
	free(l->slots);
	free(l->positions);
	free(l);
}

struct ledger_entry *
ledger_add(struct ledger *l, struct em_batch *batch)
{
	struct ledger_entry *e = em_calloc(1, sizeof(*e) + batch->count);

	e->batch = em_batch_ref(batch);
	e->open = e->waiting = batch->count;
	l->open += batch->count;
	STAILQ_INSERT_TAIL(&l->entries, e, link);
	return e;
}

struct em_batch *
ledger_batch(const struct ledger_entry *e)
{
	return e->batch;
}

void
ledger_done(struct ledger *l, struct ledger_entry *e, uint32_t first, uint32_t count)
{
	if (first > e->batch->count || count > e->batch->count - first)
		em_panic("ledger: records %u + %u of a batch of %u", first, count, e->batch->count);
	for (uint32_t i = first; i < first + count; i++) {
		if (e->marks[i] != OPEN)
			em_panic("ledger: record %u is done twice", i);
		e->marks[i] = DONE;
	}
	e->open -= count;
	l->open -= count;
}

static struct slot *
find(struct ledger *l, struct em_span partition)
{
	size_t at = em_crc32c(0, partition.bytes != NULL ? partition.bytes : (const uint8_t *)"", partition.len);

	for (;; at++) {
		struct slot *s = &l->slots[at & (l->slots_size - 1)];

		if (!s->used || em_span_eq(s->position.partition, partition))
			return s;
	}
}

static void
grow(struct ledger *l)
{
	struct slot *old = l->slots;
	size_t n = l->slots_size;

	l->slots_size = em_size_mul(n, 2);
	l->slots = em_calloc(l->slots_size, sizeof(*l->slots));
	for (size_t i = 0; i < n; i++)
		if (old[i].used)
			*find(l, old[i].position.partition) = old[i];
	free(old);
}

static struct slot *
slot_of(struct ledger *l, struct em_span partition)
{
	struct slot *s = find(l, partition);

	if (s->used)
		return s;
	if (l->slots_used * 2 >= l->slots_size) {
		grow(l);
		s = find(l, partition);
	}
	l->slots_used++;
	*s = (struct slot){ .position = { partition, EM_SPAN_NONE }, .used = true };
	return s;
}

static void
collect_entry(struct ledger *l, struct ledger_entry *e)
{
	struct slot *s = NULL;

	for (uint32_t i = 0; i < e->batch->count; i++) {
		const struct em_record *record = &e->batch->records[i];
		struct em_span partition = record->field[EM_FIELD_PARTITION];

		if (e->marks[i] == COLLECTED)
			continue;
		if (s == NULL || !em_span_eq(s->position.partition, partition))
			s = slot_of(l, partition);
		if (e->marks[i] == OPEN) {
			s->blocked = true;
		} else if (!s->blocked) {
			s->position.offset = record->field[EM_FIELD_OFFSET];
			e->marks[i] = COLLECTED;
			e->waiting--;
		}
	}
}

const struct em_position *
ledger_collect(struct ledger *l, size_t *count)
{
	struct ledger_entry *e;
	size_t n = 0;

	memset(l->slots, 0, l->slots_size * sizeof(*l->slots));
	l->slots_used = 0;
	STAILQ_FOREACH(e, &l->entries, link)
		collect_entry(l, e);
	if (l->positions_size < l->slots_used) {
		l->positions = em_realloc_array(l->positions, l->slots_used, sizeof(*l->positions));
		l->positions_size = l->slots_used;
	}
	for (size_t i = 0; i < l->slots_size; i++)
		if (l->slots[i].position.partition.bytes != NULL && l->slots[i].position.offset.bytes != NULL)
			l->positions[n++] = l->slots[i].position;
	*count = n;
	return l->positions;
}

void
ledger_commit(struct ledger *l, uint32_t *records, uint32_t *size_bytes)
{
	struct ledger_entry *e, *next;

	*records = *size_bytes = 0;
	for (e = STAILQ_FIRST(&l->entries); e != NULL; e = next) {
		next = STAILQ_NEXT(e, link);
		if (e->waiting > 0)
			continue;
		STAILQ_REMOVE(&l->entries, e, ledger_entry, link);
		*records += e->batch->count;
		*size_bytes += (uint32_t)e->batch->size_bytes;
		entry_free(e);
	}
}

void
ledger_revert(struct ledger *l)
{
	struct ledger_entry *e;

	STAILQ_FOREACH(e, &l->entries, link) {
		for (uint32_t i = 0; i < e->batch->count; i++)
			if (e->marks[i] == COLLECTED)
				e->marks[i] = DONE;
		e->waiting = e->batch->count;
	}
}

size_t
ledger_open(const struct ledger *l)
{
	return l->open;
}

bool
ledger_is_empty(const struct ledger *l)
{
	return STAILQ_EMPTY(&l->entries);
}
