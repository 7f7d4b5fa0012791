/* The sink half of connector "file": whole batches appended, on the disk before they are acknowledged. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "json.h"
#include "utf8.h"

#define OURS	"user.emsupervisor"	/* extended attribute of a file that this connector began */

struct sink {
	const struct file_config *config;
	int		 fd;
	time_t		 born;		/* of the open file, for rotate.age */
	struct em_buf	 lines;		/* of one batch */
};

static time_t
born(int fd)
{
	struct statx st = { 0 };

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &st) != 0 || (st.stx_mask & STATX_BTIME) == 0)
		return time(NULL);
	return (time_t)st.stx_btime.tv_sec;
}

/* A new name must be on the disk as well as what is written under it. */
static int
sync_directory(const struct sink *s, struct em_error *err)
{
	char *path = em_strdup(s->config->path), *slash = strrchr(path, '/');
	int fd, result;

	if (slash != NULL)
		slash[slash == path] = '\0';
	fd = open(slash != NULL ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	result = fd >= 0 ? fsync(fd) : -1;
	if (result != 0)
		em_error_errno(err, errno, "syncing the directory of \"%s\"", s->config->path);
	if (fd >= 0)
		close(fd);
	free(path);
	return result;
}

static int
open_file(struct sink *s, struct em_error *err)
{
	const int flags = O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY;
	bool is_new = true;

	s->fd = open(s->config->path, flags | O_EXCL, 0640);
	if (s->fd < 0 && errno == EEXIST) {
		is_new = false;
		s->fd = open(s->config->path, flags, 0640);
	}
	if (s->fd < 0)
		return em_error_errno(err, errno, "opening \"%s\"", s->config->path);
	s->born = born(s->fd);
	if (!is_new)
		return 0;
	(void)fsetxattr(s->fd, OURS, "1", 1, 0);	/* not every file system has them; see mend_torn_line */
	return s->config->sync == FILE_SYNC_BATCH ? sync_directory(s, err) : 0;
}

/* Where the last whole line ends; the file has size bytes. */
static off_t
end_of_lines(const struct sink *s, off_t size)
{
	char bytes[65536];

	while (size > 0) {
		size_t want = size < (off_t)sizeof(bytes) ? (size_t)size : sizeof(bytes);
		ssize_t n = pread(s->fd, bytes, want, size - (off_t)want);
		const char *newline = n == (ssize_t)want ? memrchr(bytes, '\n', want) : NULL;

		if (newline != NULL)
			return size - (off_t)want + (newline - bytes) + 1;
		if (n != (ssize_t)want)
			break;
		size -= (off_t)want;
	}
	return 0;
}

/* A process that was killed while it wrote leaves half a line. It was not acknowledged, so it comes again: in a file
 * that we began it is cut off. In another one nothing is ever removed: there the line is ended. */
static int
mend_torn_line(struct em_task *t, const struct sink *s, off_t size, struct em_error *err)
{
	char last = '\n', mark;

	if (size == 0 || pread(s->fd, &last, 1, size - 1) != 1 || last == '\n')
		return 0;
	if (fgetxattr(s->fd, OURS, &mark, 1) == 1) {
		em_task_log(t, EM_WARNING, "\"%s\" ended in the middle of a line, which was cut off: it comes again",
		    s->config->path);
		if (ftruncate(s->fd, end_of_lines(s, size)) != 0)
			return em_error_errno(err, errno, "cutting \"%s\"", s->config->path);
		return 0;
	}
	em_task_log(t, EM_WARNING, "\"%s\" ended in the middle of a line, a newline was added", s->config->path);
	if (write(s->fd, "\n", 1) != 1)
		return em_error_errno(err, errno, "writing \"%s\"", s->config->path);
	return 0;
}

int
file_sink_open(struct em_task *t, const struct file_config *config, struct em_error *err)
{
	struct sink *s = em_calloc(1, sizeof(*s));

	s->config = config;
	if (open_file(s, err) != 0) {
		free(s);
		return -1;
	}
	em_task_set(t, s);
	return 0;
}

void
file_sink_close(struct em_task *t)
{
	struct sink *s = em_task_get(t);

	if (s->fd >= 0)
		close(s->fd);
	em_buf_clear(&s->lines);
	free(s);
}

static void
member(struct em_buf *b, const char *name, struct em_span value)
{
	if (value.bytes == NULL)
		return;
	em_buf_printf(b, ",\"%s\":", name);
	em_json_string(b, value);
}

static bool
is_json(struct em_span type)
{
	size_t n = 0;

	while (n < type.len && type.bytes[n] != ';' && type.bytes[n] != ' ')
		n++;
	return em_span_is((struct em_span){ type.bytes, n }, "application/json") ||
	    (n > 5 && memcmp(type.bytes + n - 5, "+json", 5) == 0);
}

/* JSON data stands as it is, on one line: a line break in JSON is a blank, inside strings there is none. */
static bool
json_data(struct em_buf *b, struct em_span data)
{
	struct em_json value;
	size_t from;

	if (em_json_whole(data, &value, NULL) != 0)
		return false;
	em_buf_str(b, ",\"data\":");
	from = b->len;
	em_buf_span(b, data);
	for (; from < b->len; from++)
		if (b->data[from] == '\n' || b->data[from] == '\r')
			b->data[from] = ' ';
	return true;
}

static void
put_data(struct em_buf *b, const struct em_record *record)
{
	struct em_span data = record->field[EM_FIELD_DATA], type = record->field[EM_FIELD_DATACONTENTTYPE];

	if (data.bytes == NULL)
		return;
	if (is_json(type) && json_data(b, data))
		return;
	em_buf_str(b, em_is_utf8(data) ? ",\"data\":" : ",\"data_base64\":");
	if (em_is_utf8(data))
		em_json_string(b, data);
	else
		em_json_base64(b, data);
}

static void
put_extensions(struct em_buf *b, const struct em_record *record)
{
	struct em_reader r = em_reader(record->field[EM_FIELD_EXTENSIONS]);
	struct em_span key = record->field[EM_FIELD_KEY];
	struct em_attribute a;
	bool has_key = key.bytes == NULL || !em_is_utf8(key);

	while (em_attribute_next(&r, &a, NULL) > 0) {
		has_key |= em_span_is(a.name, "partitionkey");
		em_buf_str(b, ",\"");
		em_buf_span(b, a.name);
		em_buf_str(b, "\":");
		if (a.type == EM_TYPE_INTEGER)
			em_json_number(b, (int32_t)em_get_u32(a.value.bytes));
		else if (a.type == EM_TYPE_BOOLEAN)
			em_buf_str(b, a.value.bytes[0] ? "true" : "false");
		else if (a.type == EM_TYPE_BINARY)
			em_json_base64(b, a.value);
		else
			em_json_string(b, a.value);
	}
	if (!has_key)
		member(b, "partitionkey", key);
}

static void
put_cloudevent(struct em_buf *b, const struct em_record *record)
{
	static const enum em_field plain[] = {
		EM_FIELD_ID, EM_FIELD_SOURCE, EM_FIELD_EVENT_TYPE, EM_FIELD_SUBJECT, EM_FIELD_TIME,
		EM_FIELD_DATACONTENTTYPE, EM_FIELD_DATASCHEMA,
	};

	em_buf_str(b, "{\"specversion\":\"1.0\"");
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		member(b, em_field_name(plain[i]), record->field[plain[i]]);
	put_extensions(b, record);
	put_data(b, record);
	em_buf_str(b, "}\n");
}

static void
put_line(struct em_buf *b, const struct em_record *record)
{
	em_buf_span(b, record->field[EM_FIELD_DATA]);
	em_buf_u8(b, '\n');
}

/* What was written of a batch that failed is cut off again, unless somebody else has written behind it. */
static void
take_back(const struct sink *s, off_t size, size_t done, struct em_error *err)
{
	struct stat st;

	if (done == 0)
		return;
	if (fstat(s->fd, &st) != 0 || st.st_size != size + (off_t)done || ftruncate(s->fd, size) != 0)
		em_error_prefix(err, "%zu bytes of a batch that comes again stay in the file", done);
}

/* Writes all or nothing behind the first size bytes. */
static int
append(const struct sink *s, off_t size, struct em_error *err)
{
	size_t done = 0;

	while (done < s->lines.len) {
		ssize_t n = write(s->fd, s->lines.data + done, s->lines.len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			em_error_errno(err, errno, "writing \"%s\"", s->config->path);
			take_back(s, size, done, err);
			return -1;
		}
		done += (size_t)n;
	}
	if (s->config->sync == FILE_SYNC_BATCH && fdatasync(s->fd) != 0) {
		em_error_errno(err, errno, "syncing \"%s\"", s->config->path);
		take_back(s, size, done, err);
		return -1;
	}
	return 0;
}

static bool
is_due(const struct sink *s, off_t size)
{
	return size > 0 && ((s->config->rotate_size > 0 && size >= s->config->rotate_size) ||
	    (s->config->rotate_age_ms > 0 && (time(NULL) - s->born) * 1000 >= s->config->rotate_age_ms));
}

/* PATH.TIME, with a number behind it if there is such a file already: no file is ever overwritten. */
static int
rename_away(const struct sink *s, char **name, struct em_error *err)
{
	char stamp[32];
	struct tm tm;
	time_t now = time(NULL);

	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
	*name = em_asprintf("%s.%s", s->config->path, stamp);
	for (unsigned i = 1; renameat2(AT_FDCWD, s->config->path, AT_FDCWD, *name, RENAME_NOREPLACE) != 0; i++) {
		if (errno != EEXIST) {
			em_error_errno(err, errno, "renaming \"%s\" to \"%s\"", s->config->path, *name);
			return -1;
		}
		free(*name);
		*name = em_asprintf("%s.%s.%u", s->config->path, stamp, i);
	}
	return 0;
}

static int
rotate(struct em_task *t, struct sink *s, struct em_error *err)
{
	char *name;
	int result = rename_away(s, &name, err);

	if (result == 0)
		em_task_log(t, EM_INFO, "rotated to \"%s\"", name);
	free(name);
	return result;
}

/* The file of that name, locked: other tasks may append to it, and somebody may have renamed it. 0, or -1. */
static int
hold(struct sink *s, struct stat *st, struct em_error *err)
{
	struct stat named;

	for (;;) {
		if (s->fd < 0 && open_file(s, err) != 0)
			return -1;
		if (flock(s->fd, LOCK_EX) != 0 || fstat(s->fd, st) != 0)
			return em_error_errno(err, errno, "\"%s\"", s->config->path);
		if (stat(s->config->path, &named) == 0 && named.st_ino == st->st_ino && named.st_dev == st->st_dev)
			return 0;
		close(s->fd);
		s->fd = -1;
	}
}

/* Ready for a batch behind *size bytes of whole lines. */
static int
prepare(struct em_task *t, struct sink *s, off_t *size, struct em_error *err)
{
	struct stat st;

	for (;;) {
		if (hold(s, &st, err) != 0 || mend_torn_line(t, s, st.st_size, err) != 0)
			return -1;
		if (!is_due(s, st.st_size))
			break;
		if (rotate(t, s, err) != 0)
			return -1;
	}
	if (fstat(s->fd, &st) != 0)
		return em_error_errno(err, errno, "\"%s\"", s->config->path);
	*size = st.st_size;
	return 0;
}

int
file_sink_put(struct em_task *t, const struct em_record *records, uint32_t count, struct em_error *err)
{
	struct sink *s = em_task_get(t);
	off_t size;
	int result;

	em_buf_reset(&s->lines);
	for (uint32_t i = 0; i < count; i++)
		(s->config->format == FILE_CLOUDEVENTS ? put_cloudevent : put_line)(&s->lines, &records[i]);
	result = prepare(t, s, &size, err);
	if (result == 0)
		result = append(s, size, err);
	if (s->fd >= 0)
		flock(s->fd, LOCK_UN);
	return result;
}
