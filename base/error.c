#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"

static const struct em_code_row rows[] = {
	[EM_OK] = { "ok", "no error", "nothing to do" },
	[EM_EIO] = { "io", "the operating system refused an operation",
	    "read the system's words behind the colon" },
	[EM_EPROTO] = { "protocol", "a peer broke its protocol",
	    "check that both sides have versions that fit" },
	[EM_ELIMIT] = { "limit", "something is larger than allowed",
	    "make it smaller or raise the limit that is named" },
	[EM_ESYNTAX] = { "syntax", "a text is malformed", "mend the text at the place that is named" },
	[EM_ECONFIG] = { "config", "a configuration was refused",
	    "mend the file at the line that is named; the running configuration is unchanged" },
	[EM_EUSAGE] = { "usage", "a command was used wrongly", "read the command's help" },
	[EM_ENOTFOUND] = { "not-found", "what was asked for does not exist", "check the name" },
	[EM_EEXISTS] = { "exists", "it exists already", "choose another name" },
	[EM_EBUSY] = { "busy", "not possible in the present state, or held by another",
	    "bring it into the state that is named, or stop the other holder" },
	[EM_EACCESS] = { "access", "not permitted", "ask as a user who may" },
	[EM_ECORRUPT] = { "corrupt", "stored data is damaged",
	    "keep the files, restore a backup, see the manual on recovery" },
	[EM_EREFUSED] = { "refused", "the other system refused for good",
	    "read its words; the record or the rights must change" },
	[EM_ETIMEOUT] = { "timeout", "no answer in time", "see whether the other side is alive" },
	[EM_ECLOSED] = { "closed", "the peer went away", "it is tried again by itself" },
	[EM_EUNAVAILABLE] = { "unavailable", "not possible just now", "it is tried again by itself" },
	[EM_EFULL] = { "full", "there is no room left", "make room or raise the limit that is named" },
};
_Static_assert(sizeof(rows) / sizeof(rows[0]) == EM_CODES, "a row for every code");

const struct em_code_row *
em_code_row(enum em_code code)
{
	if ((unsigned)code >= EM_CODES)
		code = EM_EIO;
	return &rows[code];
}

int
em_error_set(struct em_error *err, enum em_code code, const char *fmt, ...)
{
	va_list ap;

	if (err == NULL || err->code != EM_OK)
		return -1;
	va_start(ap, fmt);
	err->text = em_vasprintf(fmt, ap);
	va_end(ap);
	err->code = code;
	return -1;
}

int
em_error_errno(struct em_error *err, int errnum, const char *fmt, ...)
{
	va_list ap;
	char *text;

	if (err == NULL || err->code != EM_OK)
		return -1;
	va_start(ap, fmt);
	text = em_vasprintf(fmt, ap);
	va_end(ap);
	err->text = em_asprintf("%s: %s", text, strerror(errnum));
	free(text);
	err->code = errnum == ENOSPC || errnum == EDQUOT ? EM_EFULL : EM_EIO;
	return -1;
}

int
em_error_prefix(struct em_error *err, const char *fmt, ...)
{
	va_list ap;
	char *context, *text;

	if (err == NULL || err->code == EM_OK)
		return -1;
	va_start(ap, fmt);
	context = em_vasprintf(fmt, ap);
	va_end(ap);
	text = em_asprintf("%s: %s", context, err->text);
	free(context);
	free(err->text);
	err->text = text;
	return -1;
}

const char *
em_error_text(const struct em_error *err)
{
	return err->text != NULL ? err->text : "no error";
}

void
em_error_clear(struct em_error *err)
{
	if (err == NULL)
		return;
	free(err->text);
	err->text = NULL;
	err->code = EM_OK;
}
