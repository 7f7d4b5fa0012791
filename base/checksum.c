#include "checksum.h"

#include <string.h>

/* Remainders of the sixteen half-bytes: small enough to read, used where the instruction is missing. */
static const uint32_t remainders[16] = {
	0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
	0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
	0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
	0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

static uint32_t
plain(uint32_t crc, const uint8_t *p, size_t n)
{
	for (; n > 0; n--, p++) {
		crc ^= *p;
		crc = crc >> 4 ^ remainders[crc & 15];
		crc = crc >> 4 ^ remainders[crc & 15];
	}
	return crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t
fast(uint32_t crc, const uint8_t *p, size_t n)
{
	uint64_t wide = crc, eight;

	for (; n >= 8; n -= 8, p += 8) {
		memcpy(&eight, p, 8);
		wide = __builtin_ia32_crc32di(wide, eight);
	}
	crc = (uint32_t)wide;
	for (; n > 0; n--, p++)
		crc = __builtin_ia32_crc32qi(crc, *p);
	return crc;
}
#endif

uint32_t
em_crc32c(uint32_t crc, const void *bytes, size_t n)
{
	crc = ~crc;
#ifdef __x86_64__
	if (__builtin_cpu_supports("sse4.2"))
		return ~fast(crc, bytes, n);
#endif
	return ~plain(crc, bytes, n);
}
