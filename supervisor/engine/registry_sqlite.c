#include "registry.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "error.h"

#define LOCK_TRIES	60
#define LOCK_WAIT_US	50000
#define APPLICATION_ID	0x656d7375	/* "emsu", so that file(1) and we know the file */

/* Each brings the schema from one version to the next; never changed once released, only added to. */
static const char *const migrations[] = {
	"CREATE TABLE offsets (connector TEXT NOT NULL, partition BLOB NOT NULL, offset BLOB NOT NULL, epoch INTEGER NOT NULL,"
	" time_ms INTEGER NOT NULL, PRIMARY KEY (connector, partition)) WITHOUT ROWID;"
	"CREATE TABLE desired (connector TEXT PRIMARY KEY, state TEXT NOT NULL, time_ms INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE history (id INTEGER PRIMARY KEY, connector TEXT NOT NULL, task INTEGER NOT NULL, event TEXT NOT NULL,"
	" reason TEXT NOT NULL, time_ms INTEGER NOT NULL);"
	"CREATE INDEX history_connector ON history (connector, id);"
	"CREATE TABLE dead_letters (id INTEGER PRIMARY KEY, connector TEXT NOT NULL, record BLOB NOT NULL,"
	" reason TEXT NOT NULL, attempts INTEGER NOT NULL, time_ms INTEGER NOT NULL);"
	"CREATE INDEX dead_letters_connector ON dead_letters (connector, id);",
};
#define MIGRATIONS	((int)(sizeof(migrations) / sizeof(migrations[0])))

enum statement { BEGIN, COMMIT, ROLLBACK, OFFSET_PUT, OFFSETS, OFFSETS_RESET_ALL, OFFSETS_RESET_ONE, DESIRED_GET,
	DESIRED_SET, HISTORY_PUT, HISTORY_TRIM, HISTORY, DEAD_LETTER_PUT, DEAD_LETTERS_COUNT, STATEMENTS };

static const char *const sql[] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[OFFSET_PUT] = "INSERT INTO offsets VALUES (?1, ?2, ?3, 0, ?4) ON CONFLICT DO UPDATE SET offset = ?3, time_ms = ?4",
	[OFFSETS] = "SELECT partition, offset, time_ms FROM offsets WHERE connector = ?1 ORDER BY partition",
	[OFFSETS_RESET_ALL] = "DELETE FROM offsets WHERE connector = ?1",
	[OFFSETS_RESET_ONE] = "DELETE FROM offsets WHERE connector = ?1 AND partition = ?2",
	[DESIRED_GET] = "SELECT state FROM desired WHERE connector = ?1",
	[DESIRED_SET] = "INSERT INTO desired VALUES (?1, ?2, ?4) ON CONFLICT DO UPDATE SET state = ?2, time_ms = ?4",
	[HISTORY_PUT] = "INSERT INTO history (connector, task, event, reason, time_ms) VALUES (?1, ?5, ?2, ?3, ?4)",
	[HISTORY_TRIM] = "DELETE FROM history WHERE connector = ?1 AND id <= (SELECT max(id) FROM history) - 1000",
	[HISTORY] = "SELECT task, event, reason, time_ms FROM history WHERE connector = ?1 ORDER BY id DESC LIMIT 50",
	[DEAD_LETTER_PUT] =
	    "INSERT INTO dead_letters (connector, record, reason, attempts, time_ms) VALUES (?1, ?2, ?3, ?5, ?4)",
	[DEAD_LETTERS_COUNT] = "SELECT count(*) FROM dead_letters WHERE connector = ?1",
};
_Static_assert(sizeof(sql) / sizeof(sql[0]) == STATEMENTS, "a text for every statement");

struct registry {
	sqlite3		*db;
	sqlite3_stmt	*statements[STATEMENTS];
	int		 lock;
	char		*path;
};

static int
fail(struct registry *r, struct em_error *err, const char *what)
{
	int code = sqlite3_extended_errcode(r->db), primary = code & 0xff;

	return em_error_set(err, primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB ? EM_ECORRUPT :
	    primary == SQLITE_FULL ? EM_EFULL : primary == SQLITE_BUSY ? EM_EBUSY : EM_EIO,
	    "registry \"%s\": %s: %s (SQLite code %d)", r->path, what, sqlite3_errmsg(r->db), code);
}

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Runs a statement that gives no rows, and makes it ready for the next time. */
static int
run(struct registry *r, enum statement which, struct em_error *err)
{
	sqlite3_stmt *s = r->statements[which];
	int code = sqlite3_step(s), result = 0;

	if (code != SQLITE_DONE && code != SQLITE_ROW)
		result = fail(r, err, sql[which]);
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	return result;
}

static void
bind_text(sqlite3_stmt *s, int at, const char *text)
{
	sqlite3_bind_text(s, at, text, -1, SQLITE_STATIC);
}

static void
bind_span(sqlite3_stmt *s, int at, struct em_span span)
{
	sqlite3_bind_blob64(s, at, span.bytes != NULL ? span.bytes : (const uint8_t *)"", span.len, SQLITE_STATIC);
}

static struct em_span
column_span(sqlite3_stmt *s, int at)
{
	const void *p = sqlite3_column_blob(s, at);

	return (struct em_span){ p != NULL ? p : "", (size_t)sqlite3_column_bytes(s, at) };
}

/* A predecessor that was killed may take a moment to be gone; a supervisor that runs does not go. */
static int
wait_for_lock(int fd)
{
	for (int tries = 0; tries < LOCK_TRIES; tries++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		usleep(LOCK_WAIT_US);
	}
	return -1;
}

static int
lock(struct registry *r, const char *state_dir, struct em_error *err)
{
	char *path = em_asprintf("%s/lock", state_dir), holder[32] = "";
	ssize_t n;

	r->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (r->lock < 0) {
		em_error_errno(err, errno, "opening \"%s\"", path);
	} else if (wait_for_lock(r->lock) != 0) {
		n = read(r->lock, holder, sizeof(holder) - 1);
		holder[n > 0 ? n : 0] = '\0';
		holder[strcspn(holder, "\n")] = '\0';
		em_error_set(err, EM_EBUSY, "\"%s\" is used by another supervisor (pid %s): stop it, or set another state_dir",
		    state_dir, holder[0] != '\0' ? holder : "unknown");
	} else if (ftruncate(r->lock, 0) != 0 || dprintf(r->lock, "%d\n", (int)getpid()) < 0) {
		em_error_errno(err, errno, "writing \"%s\"", path);
	}
	free(path);
	return err->code == EM_OK ? 0 : -1;
}

static int
pragma_value(struct registry *r, const char *text, int64_t *value, struct em_error *err)
{
	sqlite3_stmt *s;

	if (sqlite3_prepare_v2(r->db, text, -1, &s, NULL) != SQLITE_OK || sqlite3_step(s) != SQLITE_ROW) {
		fail(r, err, text);
		sqlite3_finalize(s);
		return -1;
	}
	*value = sqlite3_column_int64(s, 0);
	sqlite3_finalize(s);
	return 0;
}

static int
execute(struct registry *r, const char *text, struct em_error *err)
{
	return sqlite3_exec(r->db, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(r, err, text);
}

static int
migrate(struct registry *r, struct em_error *err)
{
	int64_t version, id;

	if (pragma_value(r, "PRAGMA user_version", &version, err) != 0 ||
	    pragma_value(r, "PRAGMA application_id", &id, err) != 0)
		return -1;
	if (version > 0 && id != APPLICATION_ID)
		return em_error_set(err, EM_ECORRUPT, "\"%s\" is no registry of emsupervisor; move it away if it is not needed",
		    r->path);
	if (version > MIGRATIONS)
		return em_error_set(err, EM_ECORRUPT, "\"%s\" has schema version %lld, this program knows up to %d: use the newer "
		    "program, or restore a backup", r->path, (long long)version, MIGRATIONS);
	for (int i = (int)version; i < MIGRATIONS; i++) {
		char *text = em_asprintf("BEGIN; %s PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT;",
		    migrations[i], APPLICATION_ID, i + 1);
		int result = execute(r, text, err);

		free(text);
		if (result != 0)
			return -1;
	}
	return 0;
}

static int
prepare(struct registry *r, struct em_error *err)
{
	for (int i = 0; i < STATEMENTS; i++)
		if (sqlite3_prepare_v3(r->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &r->statements[i], NULL) != SQLITE_OK)
			return fail(r, err, sql[i]);
	return 0;
}

struct registry *
registry_open(const char *state_dir, struct em_error *err)
{
	struct registry *r = em_calloc(1, sizeof(*r));

	r->lock = -1;
	r->path = em_asprintf("%s/registry.db", state_dir);
	if (lock(r, state_dir, err) != 0)
		goto bad;
	if (sqlite3_open_v2(r->path, &r->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) !=
	    SQLITE_OK) {
		fail(r, err, "opening");
		goto bad;
	}
	sqlite3_busy_timeout(r->db, 2000);
	if (execute(r, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL", err) == 0 && migrate(r, err) == 0 &&
	    prepare(r, err) == 0)
		return r;
	if (err->code == EM_ECORRUPT)
		em_error_prefix(err, "the registry is damaged and was left as it is; keep the files, restore a backup");
bad:
	registry_close(r);
	return NULL;
}

void
registry_close(struct registry *r)
{
	if (r == NULL)
		return;
	for (int i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(r->statements[i]);
	sqlite3_close(r->db);
	if (r->lock >= 0)
		close(r->lock);
	free(r->path);
	free(r);
}

int
registry_begin(struct registry *r, struct em_error *err)
{
	return run(r, BEGIN, err);
}

int
registry_commit(struct registry *r, struct em_error *err)
{
	return run(r, COMMIT, err);
}

void
registry_rollback(struct registry *r)
{
	if (!sqlite3_get_autocommit(r->db))
		(void)run(r, ROLLBACK, NULL);
}

int
registry_offset_put(struct registry *r, const char *connector, struct em_span partition, struct em_span offset,
    struct em_error *err)
{
	sqlite3_stmt *s = r->statements[OFFSET_PUT];

	bind_text(s, 1, connector);
	bind_span(s, 2, partition);
	bind_span(s, 3, offset);
	sqlite3_bind_int64(s, 4, now_ms());
	return run(r, OFFSET_PUT, err);
}

int
registry_offsets(struct registry *r, const char *connector, registry_offset_each *each, void *ctx, struct em_error *err)
{
	sqlite3_stmt *s = r->statements[OFFSETS];
	int code;

	bind_text(s, 1, connector);
	while ((code = sqlite3_step(s)) == SQLITE_ROW)
		each(ctx, column_span(s, 0), column_span(s, 1), sqlite3_column_int64(s, 2));
	if (code != SQLITE_DONE)
		fail(r, err, sql[OFFSETS]);
	sqlite3_reset(s);
	return code == SQLITE_DONE ? 0 : -1;
}

/* What an operator did must be on the disk before he is told so. */
static int
run_synced(struct registry *r, enum statement which, struct em_error *err)
{
	int result;

	if (execute(r, "PRAGMA synchronous = FULL", err) != 0)
		return -1;
	result = run(r, which, err);
	(void)execute(r, "PRAGMA synchronous = NORMAL", NULL);
	return result;
}

int
registry_offsets_reset(struct registry *r, const char *connector, struct em_span partition, struct em_error *err)
{
	enum statement which = partition.bytes != NULL ? OFFSETS_RESET_ONE : OFFSETS_RESET_ALL;

	bind_text(r->statements[which], 1, connector);
	if (partition.bytes != NULL)
		bind_span(r->statements[which], 2, partition);
	return run_synced(r, which, err) == 0 ? sqlite3_changes(r->db) : -1;
}

int
registry_desired_get(struct registry *r, const char *connector, char **desired, struct em_error *err)
{
	sqlite3_stmt *s = r->statements[DESIRED_GET];
	int code;

	bind_text(s, 1, connector);
	code = sqlite3_step(s);
	if (code == SQLITE_ROW)
		*desired = em_strdup((const char *)sqlite3_column_text(s, 0));
	else if (code != SQLITE_DONE)
		fail(r, err, sql[DESIRED_GET]);
	sqlite3_reset(s);
	return code == SQLITE_ROW ? 1 : code == SQLITE_DONE ? 0 : -1;
}

int
registry_desired_set(struct registry *r, const char *connector, const char *desired, struct em_error *err)
{
	sqlite3_stmt *s = r->statements[DESIRED_SET];

	bind_text(s, 1, connector);
	bind_text(s, 2, desired);
	sqlite3_bind_int64(s, 4, now_ms());
	return run_synced(r, DESIRED_SET, err);
}

int
registry_history_put(struct registry *r, const char *connector, uint32_t task, const char *event, const char *reason,
    struct em_error *err)
{
	sqlite3_stmt *s = r->statements[HISTORY_PUT];

	bind_text(s, 1, connector);
	bind_text(s, 2, event);
	bind_text(s, 3, reason);
	sqlite3_bind_int64(s, 4, now_ms());
	sqlite3_bind_int64(s, 5, task);
	if (run(r, HISTORY_PUT, err) != 0)
		return -1;
	bind_text(r->statements[HISTORY_TRIM], 1, connector);
	return run(r, HISTORY_TRIM, err);
}

json_t *
registry_history(struct registry *r, const char *connector, struct em_error *err)
{
	sqlite3_stmt *s = r->statements[HISTORY];
	json_t *list = json_array();

	bind_text(s, 1, connector);
	while (sqlite3_step(s) == SQLITE_ROW)
		json_array_append_new(list, json_pack("{s:I, s:s, s:s, s:I}", "task", (json_int_t)sqlite3_column_int64(s, 0),
		    "event", sqlite3_column_text(s, 1), "reason", sqlite3_column_text(s, 2), "time_ms",
		    (json_int_t)sqlite3_column_int64(s, 3)));
	sqlite3_reset(s);
	(void)err;
	return list;
}

int
registry_dead_letter_put(struct registry *r, const char *connector, struct em_span record, const char *reason,
    uint32_t attempts, struct em_error *err)
{
	sqlite3_stmt *s = r->statements[DEAD_LETTER_PUT];

	bind_text(s, 1, connector);
	bind_span(s, 2, record);
	bind_text(s, 3, reason);
	sqlite3_bind_int64(s, 4, now_ms());
	sqlite3_bind_int64(s, 5, attempts);
	return run(r, DEAD_LETTER_PUT, err);
}

int64_t
registry_dead_letters_count(struct registry *r, const char *connector, struct em_error *err)
{
	sqlite3_stmt *s = r->statements[DEAD_LETTERS_COUNT];
	int64_t n = -1;

	bind_text(s, 1, connector);
	if (sqlite3_step(s) == SQLITE_ROW)
		n = sqlite3_column_int64(s, 0);
	else
		fail(r, err, sql[DEAD_LETTERS_COUNT]);
	sqlite3_reset(s);
	return n;
}
