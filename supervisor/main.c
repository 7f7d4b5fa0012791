/* emsupervisord: options, then spawner and engine; see emsupervisord(8). */
#include <getopt.h>
#include <stdio.h>

#include "engine.h"
#include "spawner.h"

#define DEFAULT_FILE	EM_SYSCONF_DIR "/emsupervisor/emsupervisord.yaml"

static int
usage(FILE *out)
{
	fputs("usage: emsupervisord [-c FILE]\n"
	    "       emsupervisord [-c FILE] --check [CONNECTOR-FILE ...]\n"
	    "       emsupervisord -V | -h\n", out);
	return out == stdout ? 0 : 2;
}

static int
run_engine(int fd, unsigned generation, void *ctx)
{
	return engine_main(fd, generation, ctx);
}

int
main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "check", no_argument, NULL, 'k' }, { "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' }, { 0 },
	};
	static const struct spawner_policy policy = SPAWNER_POLICY;
	const char *file = DEFAULT_FILE;
	int c, check = 0;

	while ((c = getopt_long(argc, argv, "c:Vh", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			file = optarg;
			break;
		case 'k':
			check = 1;
			break;
		case 'V':
			puts("emsupervisord " EM_VERSION);
			return 0;
		case 'h':
			return usage(stdout);
		default:
			return usage(stderr);
		}
	}
	if (check)
		return engine_check(file, argv + optind);
	if (optind < argc)
		return usage(stderr);
	return spawner_main(run_engine, (void *)(size_t)file, &policy);
}
