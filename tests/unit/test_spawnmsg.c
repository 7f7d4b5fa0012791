/* What engine and spawner say to each other: spawnmsg.h's promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "spawnmsg.h"

static struct spawnmsg_request
start_of(const char *const *argv, const char *const *env)
{
	struct spawnmsg_request r = { .type = SPAWNMSG_START };

	for (; *argv != NULL; argv++)
		assert_int_equal(spawnmsg_put(&r, *argv, &r.argc), 0);
	for (; *env != NULL; env++)
		assert_int_equal(spawnmsg_put(&r, *env, &r.envc), 0);
	return r;
}

static struct spawnmsg_request
good(void)
{
	static const char *const argv[] = { "/bin/echo", "", "two words", NULL }, *const env[] = { "A=1", "B=", NULL };

	return start_of(argv, env);
}

static void
refused(const struct spawnmsg_request *r)
{
	assert_int_equal(spawnmsg_check(r, sizeof(*r)), -1);
}

static void
test_spawnmsg_strings_come_back_as_they_were_put(void **state)
{
	struct spawnmsg_request r = good();
	char *strings[SPAWNMSG_STRINGS + 2], **env;

	(void)state;
	assert_int_equal(spawnmsg_check(&r, sizeof(r)), 0);
	env = spawnmsg_strings(&r, strings);
	assert_string_equal(strings[0], "/bin/echo");
	assert_string_equal(strings[1], "");
	assert_string_equal(strings[2], "two words");
	assert_null(strings[3]);
	assert_string_equal(env[0], "A=1");
	assert_string_equal(env[1], "B=");
	assert_null(env[2]);
}

static void
test_spawnmsg_put_refuses_what_has_no_room(void **state)
{
	struct spawnmsg_request r = { .type = SPAWNMSG_START };
	char long_one[SPAWNMSG_TEXT + 1];

	(void)state;
	memset(long_one, 'x', sizeof(long_one));
	long_one[0] = '/';
	long_one[SPAWNMSG_TEXT] = '\0';
	assert_int_equal(spawnmsg_put(&r, long_one, &r.argc), -1);	/* one byte too long with its NUL */
	assert_int_equal(r.argc, 0);
	assert_int_equal(r.text_len, 0);
	assert_int_equal(spawnmsg_put(&r, long_one + 1, &r.argc), 0);	/* exactly fits */
	assert_int_equal(r.text_len, SPAWNMSG_TEXT);
	assert_int_equal(spawnmsg_put(&r, "", &r.argc), -1);
	r = (struct spawnmsg_request){ .type = SPAWNMSG_START };
	for (unsigned i = 0; i < SPAWNMSG_STRINGS; i++)
		assert_int_equal(spawnmsg_put(&r, "/a", i % 2 == 0 ? &r.argc : &r.envc), 0);
	assert_int_equal(spawnmsg_check(&r, sizeof(r)), 0);
	assert_int_equal(spawnmsg_put(&r, "/a", &r.envc), -1);
}

static void
test_spawnmsg_I1_size_and_type(void **state)
{
	struct spawnmsg_request r = good();

	(void)state;
	assert_int_equal(spawnmsg_check(&r, sizeof(r) - 1), -1);
	assert_int_equal(spawnmsg_check(&r, sizeof(r) + 1), -1);
	assert_int_equal(spawnmsg_check(&r, 0), -1);
	r.type = 0;
	refused(&r);
	r.type = SPAWNMSG_LEAVE + 1;
	refused(&r);
	for (uint32_t type = SPAWNMSG_HOLD; type <= SPAWNMSG_LEAVE; type++) {
		r = (struct spawnmsg_request){ .type = type };
		assert_int_equal(spawnmsg_check(&r, sizeof(r)), 0);
	}
}

static void
test_spawnmsg_I1_signal_is_one(void **state)
{
	struct spawnmsg_request r = { .type = SPAWNMSG_SIGNAL };

	(void)state;
	refused(&r);
	for (r.signal = 1; r.signal <= 64; r.signal++)
		assert_int_equal(spawnmsg_check(&r, sizeof(r)), 0);
	refused(&r);
	r.signal = UINT32_MAX;
	refused(&r);
}

static void
test_spawnmsg_I1_strings_lie_inside(void **state)
{
	struct spawnmsg_request r;

	(void)state;
	r = good(), r.text_len = 0, refused(&r);
	r = good(), r.text_len = SPAWNMSG_TEXT + 1, refused(&r);
	r = good(), r.text_len--, refused(&r);			/* the last NUL is cut off */
	r = good(), r.text_len++, refused(&r);			/* one string more than counted */
	r = good(), r.argc++, refused(&r);
	r = good(), r.argc--, refused(&r);
	r = good(), r.argc = 0, r.envc = 5, refused(&r);	/* nothing to execute */
	r = good(), r.argc = UINT32_MAX, r.envc = 6, refused(&r);	/* their sum overflows to 5 */
	r = good(), r.envc = UINT32_MAX, refused(&r);
	r = good(), r.argc = SPAWNMSG_STRINGS + 1, refused(&r);
	r = good(), r.text[0] = 'b', refused(&r);		/* a relative path */
	r = good(), r.text[r.text_len - 1] = 'x', r.argc--, refused(&r);
}

/* Whatever bytes pass the check give strings that end inside the struct. ASan looks on. */
static void
test_spawnmsg_I1_random_bytes(void **state)
{
	struct spawnmsg_request *r = malloc(sizeof(*r));
	unsigned passed = 0;

	(void)state;
	srand(7);
	for (int i = 0; i < 200000; i++) {
		char *strings[SPAWNMSG_STRINGS + 2], **env;

		memset(r, 0, sizeof(*r));
		r->type = SPAWNMSG_START;
		r->argc = (uint32_t)rand() % 5;
		r->envc = (uint32_t)rand() % 4;
		r->text_len = (uint32_t)rand() % 24;
		for (uint32_t b = 0; b < r->text_len; b++)
			r->text[b] = "/ab\0\0="[rand() % 6];
		if (spawnmsg_check(r, sizeof(*r)) != 0)
			continue;
		passed++;
		env = spawnmsg_strings(r, strings);
		assert_ptr_equal(env, strings + r->argc + 1);
		for (uint32_t s = 0; s < r->envc; s++)
			assert_true(env[s] + strlen(env[s]) < r->text + r->text_len);
		assert_null(env[r->envc]);
	}
	assert_true(passed > 1000);
	free(r);
}

static void
test_spawnmsg_every_step_has_a_name(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < SPAWNMSG_STEPS; i++)
		assert_string_not_equal(spawnmsg_step_name(i), "unknown step");
	assert_string_equal(spawnmsg_step_name(SPAWNMSG_STEPS), "unknown step");
	assert_string_equal(spawnmsg_step_name(SPAWNMSG_STEP_EXEC), "exec");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spawnmsg_strings_come_back_as_they_were_put),
		cmocka_unit_test(test_spawnmsg_put_refuses_what_has_no_room),
		cmocka_unit_test(test_spawnmsg_I1_size_and_type),
		cmocka_unit_test(test_spawnmsg_I1_signal_is_one),
		cmocka_unit_test(test_spawnmsg_I1_strings_lie_inside),
		cmocka_unit_test(test_spawnmsg_I1_random_bytes),
		cmocka_unit_test(test_spawnmsg_every_step_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
