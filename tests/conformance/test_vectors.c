/* Every captured frame of the real EventMesh is decoded and encoded again to the same meaning; every bad one is survived. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"
#include "error.h"
#include "eventmesh.h"

static struct em_buf
read_file(const char *name)
{
	char *path = em_asprintf("%s/%s", VECTORS, name);
	FILE *f = fopen(path, "rb");
	struct em_buf b = { 0 };
	size_t n;

	assert_non_null(f);
	while ((n = fread(em_buf_reserve(&b, 4096), 1, 4096, f)) > 0)
		b.len += n;
	fclose(f);
	free(path);
	return b;
}

static void
good(const char *name)
{
	struct em_buf b = read_file(name), again = { 0 };
	struct em_mesh_frame first, second;
	size_t begin;

	assert_int_equal(em_mesh_cut(em_buf_view(&b), NULL), b.len);
	for (size_t n = 0; n < b.len; n++)	/* a beginning of it is never taken for the whole */
		assert_int_equal(em_mesh_cut((struct em_span){ b.data, n }, NULL), 0);
	assert_int_equal(em_mesh_decode(em_buf_view(&b), &first, NULL), 0);
	begin = em_mesh_begin(&again, &first.header);
	em_buf_span(&again, first.body);
	assert_int_equal(em_mesh_end(&again, begin, NULL), 0);
	assert_int_equal(em_mesh_decode(em_buf_view(&again), &second, NULL), 0);
	assert_int_equal(first.header.command, second.header.command);
	assert_int_equal(first.header.code, second.header.code);
	assert_int_equal(first.header.form, second.header.form);
	assert_true(em_span_eq(first.header.seq, second.header.seq));
	assert_true(em_span_eq(first.body, second.body));
	em_buf_clear(&b);
	em_buf_clear(&again);
}

/* Refused, or incomplete, or decoded to something: but never read beyond the end, and never a crash. */
static void
bad(const char *name)
{
	struct em_buf b = read_file(name);
	struct em_mesh_frame frame;
	struct em_error err = EM_ERROR_INIT;
	long n = em_mesh_cut(em_buf_view(&b), &err);

	assert_true(n <= (long)b.len);
	if (n > 0 && em_mesh_decode((struct em_span){ b.data, (size_t)n }, &frame, &err) == 0 && frame.body.len > 0) {
		struct em_buf text = { 0 };
		struct em_mesh_agent agent;
		struct em_mesh_identity identity;

		(void)em_mesh_agent_decode(frame.body, &text, &agent, NULL);
		(void)em_mesh_identify(frame.body, &identity, NULL);
		em_buf_clear(&text);
	}
	em_error_clear(&err);
	em_buf_clear(&b);
}

static void
test_every_vector(void **state)
{
	DIR *d = opendir(VECTORS);
	struct dirent *e;
	int goods = 0, bads = 0;

	(void)state;
	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		if (strstr(e->d_name, ".bin") == NULL)
			continue;
		if (atoi(e->d_name) < 70) {
			good(e->d_name);
			goods++;
		} else {
			bad(e->d_name);
			bads++;
		}
	}
	closedir(d);
	assert_true(goods >= 41 && bads >= 30);
}

static void
test_lengths_that_lie_are_refused_from_the_first_bytes(void **state)
{
	static const char *const names[] = { "70-bad-http-request.bin", "72-bad-length-zero.bin", "73-bad-length-12.bin",
		"74-bad-length-max-int.bin", "75-bad-length-one-too-many.bin", "90-bad-magic.bin", "91-bad-version.bin",
		"92-bad-length-over-4MiB.bin", "93-bad-negative-length.bin" };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct em_buf b = read_file(names[i]);

		assert_int_equal(em_mesh_cut(em_buf_view(&b), NULL), -1);
		em_buf_clear(&b);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_vector),
		cmocka_unit_test(test_lengths_that_lie_are_refused_from_the_first_bytes),
	};

	return cmocka_run_group_tests_name("conformance", tests, NULL, NULL);
}
