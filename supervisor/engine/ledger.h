/*
 * ledger: what one source task has handed over and is not committed yet, and how far each partition is durable.
 *
 * Runs in: engine. Pure. Rank 0.
 * I1. A partition's position is the offset of the last record before the first one of that partition that is not
 *     done: never an offset beyond an open record.
 * I2. A stuck record holds back its own partition only.
 * I3. A batch is let go (and its credit given back) once every record of it is done and committed.
 * I4. A commit that failed changes nothing: after ledger_revert the same positions come again.
 * Ownership: an entry holds a reference to its batch. Positions borrow from the batches and from the ledger until
 * ledger_commit or ledger_revert.
 */
#ifndef LEDGER_H
#define LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

struct em_batch;
struct ledger;
struct ledger_entry;

struct ledger *ledger_new(void);
void	ledger_free(struct ledger *l);			/* NULL is fine; lets all batches go */

/* Takes a reference of the batch. The entry stays valid until it is released by ledger_commit. */
struct ledger_entry *ledger_add(struct ledger *l, struct em_batch *batch);
struct em_batch *ledger_batch(const struct ledger_entry *e);	/* borrowed */

/* Records first .. first + count - 1 of the entry are done; doing one twice is a broken invariant. */
void	ledger_done(struct ledger *l, struct ledger_entry *e, uint32_t first, uint32_t count);

/* The positions that advanced since the last commit; *count 0 if none did. */
const struct em_position *ledger_collect(struct ledger *l, size_t *count);

/* The collected positions are durable: lets finished batches go; says how much credit they held. */
void	ledger_commit(struct ledger *l, uint32_t *records, uint32_t *size_bytes);
void	ledger_revert(struct ledger *l);

size_t	ledger_open(const struct ledger *l);		/* records not done yet */
bool	ledger_is_empty(const struct ledger *l);	/* nothing open, nothing uncommitted */

#endif
