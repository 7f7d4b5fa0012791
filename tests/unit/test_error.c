/* Errors: what error.h promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>

#include "error.h"

static void
test_error_I1_setters_return_minus_one(void **state)
{
	struct em_error err = EM_ERROR_INIT;

	(void)state;
	assert_int_equal(em_error_set(&err, EM_ELIMIT, "%d", 1), -1);
	assert_int_equal(em_error_prefix(&err, "x"), -1);
	em_error_clear(&err);
	assert_int_equal(em_error_errno(&err, ENOENT, "opening"), -1);
	em_error_clear(&err);
}

static void
test_error_I2_first_stays_and_context_goes_in_front(void **state)
{
	struct em_error err = EM_ERROR_INIT;

	(void)state;
	em_error_prefix(&err, "nothing to prefix");
	assert_string_equal(em_error_text(&err), "no error");
	em_error_set(&err, EM_ENOTFOUND, "no row %d", 7);
	em_error_set(&err, EM_EIO, "second");
	em_error_prefix(&err, "inner");
	em_error_prefix(&err, "outer");
	assert_int_equal(err.code, EM_ENOTFOUND);
	assert_string_equal(em_error_text(&err), "outer: inner: no row 7");
	em_error_clear(&err);
	assert_int_equal(err.code, EM_OK);
	em_error_clear(&err);
}

static void
test_error_full_disk_has_a_code_of_its_own(void **state)
{
	struct em_error err = EM_ERROR_INIT;

	(void)state;
	em_error_errno(&err, ENOSPC, "writing %s", "log");
	assert_int_equal(err.code, EM_EFULL);
	assert_string_equal(em_error_text(&err), "writing log: No space left on device");
	em_error_clear(&err);
}

static void
test_error_I3_null_is_accepted(void **state)
{
	(void)state;
	assert_int_equal(em_error_set(NULL, EM_EIO, "x"), -1);
	assert_int_equal(em_error_errno(NULL, EIO, "x"), -1);
	assert_int_equal(em_error_prefix(NULL, "x"), -1);
	em_error_clear(NULL);
}

static void
test_error_every_code_says_what_to_do(void **state)
{
	(void)state;
	for (int i = 0; i < EM_CODES; i++) {
		assert_non_null(em_code_row((enum em_code)i)->name);
		assert_non_null(em_code_row((enum em_code)i)->meaning);
		assert_non_null(em_code_row((enum em_code)i)->mend);
	}
	assert_ptr_equal(em_code_row((enum em_code)999), em_code_row(EM_EIO));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_error_I1_setters_return_minus_one),
		cmocka_unit_test(test_error_I2_first_stays_and_context_goes_in_front),
		cmocka_unit_test(test_error_full_disk_has_a_code_of_its_own),
		cmocka_unit_test(test_error_I3_null_is_accepted),
		cmocka_unit_test(test_error_every_code_says_what_to_do),
	};

	return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
