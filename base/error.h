/*
 * error: one error value that travels up to whoever reads it, and THE table of error codes.
 *
 * Runs in: everywhere. Pure.
 * I1. em_error_set and its kin return -1, so that "return em_error_set(...)" is the whole failure path.
 * I2. The first error set stays; context is added in front with em_error_prefix, outermost last.
 * I3. A NULL struct em_error is accepted everywhere and costs nothing.
 * Errors: none of its own.  Ownership: the text belongs to the struct; em_error_clear frees it.
 */
#ifndef EM_ERROR_H
#define EM_ERROR_H

enum em_code {
	EM_OK,
	EM_EIO,			/* the operating system refused: text carries strerror */
	EM_EPROTO,		/* the peer broke its protocol */
	EM_ELIMIT,		/* larger than what is allowed */
	EM_ESYNTAX,		/* malformed text: JSON, YAML, a number */
	EM_ECONFIG,		/* configuration refused */
	EM_EUSAGE,		/* a command or call with wrong arguments */
	EM_ENOTFOUND,
	EM_EEXISTS,
	EM_EBUSY,		/* not in this state, or held by another */
	EM_EACCESS,
	EM_ECORRUPT,		/* stored data does not match its checksum or schema */
	EM_EREFUSED,		/* the other system refused, for good */
	EM_ETIMEOUT,
	EM_ECLOSED,		/* the peer went away */
	EM_EUNAVAILABLE,	/* try again later */
	EM_EFULL,		/* no room: disk, inbox, window */
	EM_CODES
};

struct em_error {
	enum em_code	 code;
	char		*text;		/* NULL when code is EM_OK */
};

#define EM_ERROR_INIT { EM_OK, NULL }

struct em_code_row {
	const char	*name;		/* as shown by emctl, e.g. "not-found" */
	const char	*meaning;	/* one sentence */
	const char	*mend;		/* what to do about it */
};

/* The row of a code; never NULL. */
const struct em_code_row *em_code_row(enum em_code code);

/* Records an error if none is recorded yet. Always returns -1. */
int	em_error_set(struct em_error *err, enum em_code code, const char *fmt, ...)
	    __attribute__((format(printf, 3, 4)));

/* As em_error_set, with ": " and the words of errnum behind the text. EM_EIO, or EM_EFULL for a full disk. */
int	em_error_errno(struct em_error *err, int errnum, const char *fmt, ...)
	    __attribute__((format(printf, 3, 4)));

/* Puts context and ": " in front of a recorded error; nothing when none is recorded. Always returns -1. */
int	em_error_prefix(struct em_error *err, const char *fmt, ...)
	    __attribute__((format(printf, 2, 3)));

/* The text, or "no error"; borrowed until the next change of err. */
const char *em_error_text(const struct em_error *err);

/* Forgets the error and frees its text; the struct can be used again. */
void	em_error_clear(struct em_error *err);

#endif
