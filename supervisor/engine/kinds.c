#include "kinds.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bytes.h"
#include "log.h"

#define LIMIT_MS	3000
#define SAID_MAX	(1024u * 1024)

struct kinds {
	char	*dir;
	json_t	*all;
};

/* Everything the process says until it closes its output; false if it takes too long or says too much. */
static bool
listen_to(int fd, struct em_buf *said)
{
	struct pollfd p = { fd, POLLIN, 0 };
	ssize_t n;

	while (poll(&p, 1, LIMIT_MS) > 0 && said->len < SAID_MAX) {
		n = read(fd, em_buf_reserve(said, 65536), 65536);
		if (n <= 0)
			return n == 0;
		said->len += (size_t)n;
	}
	return false;
}

static json_t *
ask(const char *path)
{
	char *argv[] = { (char *)(uintptr_t)path, (char *)(uintptr_t)"--describe", NULL };
	char *env[] = { (char *)(uintptr_t)"PATH=/usr/bin:/bin", NULL };
	posix_spawn_file_actions_t actions;
	struct em_buf said = { 0 };
	json_t *answer = NULL;
	int out[2], status;
	bool whole;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) != 0)
		return NULL;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	if (posix_spawn(&pid, path, &actions, NULL, argv, env) == 0) {
		close(out[1]);
		whole = listen_to(out[0], &said);
		if (!whole)
			kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		if (whole && WIFEXITED(status) && WEXITSTATUS(status) == 0)
			answer = json_loadb((const char *)em_buf_view(&said).bytes, said.len, 0, NULL);
	} else {
		close(out[1]);
	}
	close(out[0]);
	posix_spawn_file_actions_destroy(&actions);
	em_buf_clear(&said);
	return answer;
}

static void
add(struct kinds *k, const char *name)
{
	char *path = kinds_path(k, name);
	struct stat st;
	json_t *said;

	if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0) {
		said = ask(path);
		if (json_is_string(json_object_get(said, "name")) &&
		    strcmp(json_string_value(json_object_get(said, "name")), name) == 0 &&
		    json_is_array(json_object_get(said, "options"))) {
			json_object_set_new(said, "path", json_string(path));
			json_object_set(k->all, name, said);
		} else {
			em_log(EM_WARNING, "kinds", "\"%s\" is left out: \"%s --describe\" gives no description of a connector "
			    "\"%s\"", path, path, name);
		}
		json_decref(said);
	}
	free(path);
}

struct kinds *
kinds_load(const char *plugin_dir)
{
	struct kinds *k = em_calloc(1, sizeof(*k));
	DIR *d = opendir(plugin_dir);
	struct dirent *e;

	k->dir = em_strdup(plugin_dir);
	k->all = json_object();
	if (d == NULL)
		em_log(EM_ERROR, "kinds", "plugin_dir \"%s\" cannot be read: there are no connectors", plugin_dir);
	while (d != NULL && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			add(k, e->d_name);
	if (d != NULL)
		closedir(d);
	return k;
}

void
kinds_free(struct kinds *k)
{
	if (k == NULL)
		return;
	json_decref(k->all);
	free(k->dir);
	free(k);
}

const json_t *
kinds_find(const struct kinds *k, const char *name)
{
	return json_object_get(k->all, name);
}

char *
kinds_path(const struct kinds *k, const char *name)
{
	return em_asprintf("%s/%s", k->dir, name);
}

json_t *
kinds_all(const struct kinds *k)
{
	return json_incref(k->all);
}
