/*
 * spawnmsg: what engine and spawner say to each other: fixed-size structs, one a packet of a SOCK_SEQPACKET pair.
 *
 * Runs in: engine, spawner. Pure. Both are one program, so structs travel as they are.
 * I1. A request is used only after spawnmsg_check: every count and string lies inside the struct, a signal is one.
 * I2. Nothing is allocated.
 * Descriptors travel beside a request (SCM_RIGHTS): START has two: the channel (or a listening socket), the output
 * pipe; HOLD has one.
 * A START is answered by one STARTED or FAILED; STARTED is followed by one EXITED. The other requests have no answer.
 */
#ifndef EM_SPAWNMSG_H
#define EM_SPAWNMSG_H

#include <stddef.h>
#include <stdint.h>

#define SPAWNMSG_TEXT	8192u		/* all strings of a START */
#define SPAWNMSG_STRINGS 64u
#define SPAWNMSG_NO_ID	UINT32_MAX	/* uid, gid: stay who you are */

enum spawnmsg_request_type {
	SPAWNMSG_START = 1,
	SPAWNMSG_SIGNAL,		/* to the child's whole process group */
	SPAWNMSG_HOLD,			/* keep this socket open, under the tag */
	SPAWNMSG_RELEASE,		/* close what this engine let hold under the tag */
	SPAWNMSG_RELEASE_EARLIER,	/* close what engines before this one let hold under the tag; 0: under any */
	SPAWNMSG_LEAVE			/* the engine ends on purpose: the service ends with it */
};
enum spawnmsg_report_type { SPAWNMSG_STARTED = 1, SPAWNMSG_FAILED, SPAWNMSG_EXITED };

/* Steps between fork and exec, for FAILED; the table of sandbox.c has their names. */
enum spawnmsg_step { SPAWNMSG_STEP_FORK, SPAWNMSG_STEP_SESSION, SPAWNMSG_STEP_DESCRIPTORS, SPAWNMSG_STEP_LIMITS,
	SPAWNMSG_STEP_IDENTITY, SPAWNMSG_STEP_PRIVILEGE, SPAWNMSG_STEP_EXEC, SPAWNMSG_STEP_TABLE, SPAWNMSG_STEPS };

struct spawnmsg_request {
	uint32_t	type;
	uint32_t	signal;			/* SIGNAL */
	uint64_t	child;			/* START, SIGNAL: the engine's number for it */
	uint64_t	tag;			/* HOLD, RELEASE...: what the socket is for */
	uint32_t	uid, gid;
	uint64_t	memory_bytes, files, processes;	/* 0: not limited */
	uint32_t	argc, envc;		/* strings one after the other in text: argv (argv[0] is the path), then env */
	uint32_t	text_len;
	char		text[SPAWNMSG_TEXT];
};

struct spawnmsg_report {
	uint32_t	type;
	int32_t		pid;
	uint64_t	child;
	int32_t		status;			/* EXITED: as from waitpid */
	uint32_t	step;			/* FAILED */
	int32_t		errnum;
};

/* 0, or -1: the request is not to be used. */
int	spawnmsg_check(const struct spawnmsg_request *request, size_t size);
/* Fills strings (SPAWNMSG_STRINGS + 2 of them) of a checked START: argv, NULL, env, NULL; returns env. */
char	**spawnmsg_strings(struct spawnmsg_request *request, char **strings);
/* Appends a string to a START; -1: no room. */
int	spawnmsg_put(struct spawnmsg_request *request, const char *string, uint32_t *count);
const char *spawnmsg_step_name(uint32_t step);

#endif
