/* The sink half of connector "file": whole batches appended, on the disk before they are acknowledged. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "json.h"
#include "utf8.h"

struct sink {
	const struct file_config *config;
	int		 fd;
	time_t		 born;		/* of the open file, for rotate.age */
	unsigned	 rotations;
	struct em_buf	 lines;		/* of one batch */
};

static int
open_file(struct sink *s, struct em_error *err)
{
	s->fd = open(s->config->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
	if (s->fd < 0)
		return em_error_errno(err, errno, "opening \"%s\"", s->config->path);
	s->born = time(NULL);
	return 0;
}

/* A line that a crash cut off would run into the next one: it is ended, so that only it is damaged. */
static int
end_torn_line(struct em_task *t, const struct sink *s, struct em_error *err)
{
	int fd = open(s->config->path, O_RDONLY | O_CLOEXEC);
	off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
	char last = '\n';
	ssize_t n = size > 0 ? pread(fd, &last, 1, size - 1) : 1;

	if (fd >= 0)
		close(fd);
	if (n != 1 || last == '\n')
		return 0;
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
	if (open_file(s, err) != 0 || end_torn_line(t, s, err) != 0) {
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

/* JSON data stands as it is if that is one line, else without its blanks. */
static bool
json_data(struct em_buf *b, struct em_span data)
{
	struct em_json value;
	json_t *tree;
	char *text;

	if (em_json_whole(data, &value, NULL) != 0)
		return false;
	if (memchr(data.bytes, '\n', data.len) == NULL) {
		em_buf_str(b, ",\"data\":");
		em_buf_span(b, data);
		return true;
	}
	tree = json_loadb((const char *)data.bytes, data.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	text = tree != NULL ? json_dumps(tree, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
	json_decref(tree);
	if (text == NULL)
		return false;
	em_buf_str(b, ",\"data\":");
	em_buf_str(b, text);
	free(text);
	return true;
}

static void
put_data(struct em_buf *b, const struct em_record *record)
{
	struct em_span data = record->field[EM_FIELD_DATA], type = record->field[EM_FIELD_DATACONTENTTYPE];

	if (data.bytes == NULL)
		return;
	if ((em_span_starts(type, "application/json") || em_span_starts(type, "application/vnd.")) && json_data(b, data))
		return;
	em_buf_str(b, em_is_utf8(data) ? ",\"data\":" : ",\"data_base64\":");
	if (em_is_utf8(data))
		em_json_string(b, data);
	else
		em_json_base64(b, data);
}

static void
put_extensions(struct em_buf *b, struct em_span list)
{
	struct em_reader r = em_reader(list);
	struct em_attribute a;

	while (em_attribute_next(&r, &a, NULL) > 0) {
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
	if (em_is_utf8(record->field[EM_FIELD_KEY]))
		member(b, "partitionkey", record->field[EM_FIELD_KEY]);
	put_extensions(b, record->field[EM_FIELD_EXTENSIONS]);
	put_data(b, record);
	em_buf_str(b, "}\n");
}

static void
put_line(struct em_buf *b, const struct em_record *record)
{
	em_buf_span(b, record->field[EM_FIELD_DATA]);
	em_buf_u8(b, '\n');
}

/* Writes all or nothing: what was written of a batch that failed is cut off again. */
static int
append(struct sink *s, off_t size, struct em_error *err)
{
	size_t done = 0;

	while (done < s->lines.len) {
		ssize_t n = write(s->fd, s->lines.data + done, s->lines.len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			em_error_errno(err, errno, "writing \"%s\"", s->config->path);
			if (done > 0 && ftruncate(s->fd, size) != 0)
				em_error_prefix(err, "half a batch could not be cut off again (%s)", strerror(errno));
			return -1;
		}
		done += (size_t)n;
	}
	if (s->config->sync == FILE_SYNC_BATCH && fdatasync(s->fd) != 0) {
		em_error_errno(err, errno, "syncing \"%s\"", s->config->path);
		if (ftruncate(s->fd, size) != 0)
			em_error_prefix(err, "a batch could not be cut off again (%s)", strerror(errno));
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

static int
rotate(struct em_task *t, struct sink *s, struct em_error *err)
{
	char stamp[32], *name;
	struct tm tm;
	time_t now = time(NULL);

	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
	do {	/* a name that exists is never overwritten */
		name = em_asprintf("%s.%s.%u", s->config->path, stamp, s->rotations++);
		if (access(name, F_OK) != 0)
			break;
		free(name);
	} while (true);
	if (rename(s->config->path, name) != 0) {
		em_error_errno(err, errno, "renaming \"%s\" to \"%s\"", s->config->path, name);
		free(name);
		return -1;
	}
	em_task_log(t, EM_INFO, "rotated to \"%s\"", name);
	free(name);
	close(s->fd);
	return open_file(s, err);
}

/* Somebody else may rotate the file: then a new one is begun. */
static int
reopen_if_moved(struct sink *s, struct em_error *err)
{
	struct stat named, ours;

	if (fstat(s->fd, &ours) == 0 && stat(s->config->path, &named) == 0 && named.st_ino == ours.st_ino &&
	    named.st_dev == ours.st_dev)
		return 0;
	close(s->fd);
	return open_file(s, err);
}

int
file_sink_put(struct em_task *t, const struct em_record *records, uint32_t count, struct em_error *err)
{
	struct sink *s = em_task_get(t);
	struct stat st;

	if (reopen_if_moved(s, err) != 0)
		return -1;
	if (fstat(s->fd, &st) != 0)
		return em_error_errno(err, errno, "\"%s\"", s->config->path);
	if (is_due(s, st.st_size)) {
		if (rotate(t, s, err) != 0)
			return -1;
		st.st_size = 0;
	}
	em_buf_reset(&s->lines);
	for (uint32_t i = 0; i < count; i++)
		(s->config->format == FILE_CLOUDEVENTS ? put_cloudevent : put_line)(&s->lines, &records[i]);
	return append(s, st.st_size, err);
}
