/* What the service manager and the journal get from us: systemd.h, against sockets that stand where theirs do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "systemd.h"

#define JOURNAL	"/run/systemd/journal/socket"

static int
listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		perror(path);
		return -1;
	}
	return fd;
}

static void
test_systemd_I1_without_systemd_nothing_happens(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	systemd_notify("READY=1");
	assert_int_equal(systemd_watchdog_ms(), 0);
	assert_non_null(getenv("PATH"));
}

static void
test_systemd_notify_reaches_the_socket(void **state)
{
	char directory[] = "/tmp/test_systemd.XXXXXX", path[64], text[256];
	int fd;
	ssize_t n;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/notify", directory);
	fd = listen_at(path);
	assert_true(fd >= 0);
	setenv("NOTIFY_SOCKET", path, 1);
	systemd_notify("READY=1\nSTATUS=3 connectors run");
	n = recv(fd, text, sizeof(text) - 1, 0);
	assert_true(n > 0);
	text[n] = '\0';
	assert_string_equal(text, "READY=1\nSTATUS=3 connectors run");
	systemd_notify("WATCHDOG=1");	/* the socket was not forgotten */
	n = recv(fd, text, sizeof(text) - 1, 0);
	assert_int_equal(n, strlen("WATCHDOG=1"));
	unsetenv("NOTIFY_SOCKET");
	close(fd);
	unlink(path);
	rmdir(directory);
}

/* The answer of a process whose parent is this one, as an engine's is the spawner. */
static int
watchdog_of_a_child(pid_t named)
{
	int status;
	pid_t pid = fork();
	char text[32];

	if (pid == 0) {
		snprintf(text, sizeof(text), "%d", named > 0 ? (int)named : (int)getpid());
		setenv("WATCHDOG_USEC", "90000", 1);
		setenv("WATCHDOG_PID", text, 1);
		_exit((int)systemd_watchdog_ms());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WEXITSTATUS(status);
}

static void
test_systemd_I2_the_watchdog_is_the_spawners(void **state)
{
	(void)state;
	assert_int_equal(watchdog_of_a_child(getpid()), 90);
	assert_int_equal(watchdog_of_a_child(0), 90);		/* its own: where somebody runs the engine alone */
	assert_int_equal(watchdog_of_a_child(1), 0);		/* meant for another process */
}

static bool
put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return good;
}

/* Where only a user name space gives a mount name space, this user is its root. */
static bool
own_mounts(void)
{
	char users[32], groups[32];

	snprintf(users, sizeof(users), "0 %u 1", (unsigned)geteuid());
	snprintf(groups, sizeof(groups), "0 %u 1", (unsigned)getegid());
	return unshare(CLONE_NEWNS) == 0 || (unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
	    put("/proc/self/uid_map", users) && put("/proc/self/setgroups", "deny") && put("/proc/self/gid_map", groups));
}

/* In a mount name space of its own a socket can stand where the journal's does. 77: not allowed on this machine. */
static int
journal_in_a_world_of_its_own(void)
{
	char text[1024];
	ssize_t n;
	int fd;

	if (!own_mounts() ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || mount("tmpfs", "/run", "tmpfs", 0, NULL) != 0)
		return errno == EPERM ? 77 : 1;
	if (mkdir("/run/systemd", 0755) != 0 || mkdir("/run/systemd/journal", 0755) != 0 ||
	    (fd = listen_at(JOURNAL)) < 0)
		return 2;
	systemd_journal(EM_WARNING, "orders/2", "a line");
	n = recv(fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return 3;
	text[n] = '\0';
	fputs(text, stderr);
	return strstr(text, "MESSAGE=orders/2: a line\n") == NULL ? 4 : strstr(text, "PRIORITY=4\n") == NULL ? 5 :
	    strstr(text, "EMSUPERVISOR_SUBJECT=orders/2\n") == NULL ? 6 :
	    strstr(text, "SYSLOG_IDENTIFIER=emsupervisord\n") == NULL ? 7 : strstr(text, "CODE_FILE") != NULL ? 8 : 0;
}

static void
test_systemd_journal_fields(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(journal_in_a_world_of_its_own());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		print_message("no name spaces for users here: nothing was seen of the journal\n");
	else
		assert_int_equal(WEXITSTATUS(status), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_systemd_I1_without_systemd_nothing_happens),
		cmocka_unit_test(test_systemd_notify_reaches_the_socket),
		cmocka_unit_test(test_systemd_I2_the_watchdog_is_the_spawners),
		cmocka_unit_test(test_systemd_journal_fields),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
