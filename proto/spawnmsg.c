#include "spawnmsg.h"

#include <string.h>

#define SIGNAL_MAX	64u

static const char *const steps[] = {
	[SPAWNMSG_STEP_FORK] = "fork", [SPAWNMSG_STEP_SESSION] = "session", [SPAWNMSG_STEP_DESCRIPTORS] = "descriptors",
	[SPAWNMSG_STEP_LIMITS] = "limits", [SPAWNMSG_STEP_IDENTITY] = "changing user",
	[SPAWNMSG_STEP_PRIVILEGE] = "giving up privilege", [SPAWNMSG_STEP_EXEC] = "exec",
	[SPAWNMSG_STEP_TABLE] = "room for another child",
};
_Static_assert(sizeof(steps) / sizeof(steps[0]) == SPAWNMSG_STEPS, "a name for every step");

const char *
spawnmsg_step_name(uint32_t step)
{
	return step < SPAWNMSG_STEPS ? steps[step] : "unknown step";
}

int
spawnmsg_check(const struct spawnmsg_request *r, size_t size)
{
	uint32_t strings = 0;

	if (size != sizeof(*r) || r->type < SPAWNMSG_START || r->type > SPAWNMSG_LEAVE)
		return -1;
	if (r->type == SPAWNMSG_SIGNAL)
		return r->signal == 0 || r->signal > SIGNAL_MAX ? -1 : 0;
	if (r->type != SPAWNMSG_START)
		return 0;
	if (r->text_len > SPAWNMSG_TEXT || r->argc == 0 || r->argc > SPAWNMSG_STRINGS || r->envc > SPAWNMSG_STRINGS ||
	    r->argc + r->envc > SPAWNMSG_STRINGS)
		return -1;
	for (uint32_t i = 0; i < r->text_len; i++)
		strings += r->text[i] == '\0';
	if (strings != r->argc + r->envc || r->text[r->text_len - 1] != '\0' || r->text[0] != '/')
		return -1;
	return 0;
}

char **
spawnmsg_strings(struct spawnmsg_request *r, char **strings)
{
	char *p = r->text, **out = strings, **env;

	for (uint32_t i = 0; i < r->argc; i++, p += strlen(p) + 1)
		*out++ = p;
	*out++ = NULL;
	env = out;
	for (uint32_t i = 0; i < r->envc; i++, p += strlen(p) + 1)
		*out++ = p;
	*out = NULL;
	return env;
}

int
spawnmsg_put(struct spawnmsg_request *r, const char *string, uint32_t *count)
{
	size_t n = strlen(string) + 1;

	if (n > SPAWNMSG_TEXT - r->text_len || r->argc + r->envc >= SPAWNMSG_STRINGS)
		return -1;
	memcpy(r->text + r->text_len, string, n);
	r->text_len += (uint32_t)n;
	++*count;
	return 0;
}
