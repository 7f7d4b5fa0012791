/*
 * checksum: CRC-32C (Castagnoli), the check of everything we keep in files of our own.
 *
 * Runs in: everywhere. Pure.
 * I1. The same bytes give the same sum on every machine, with or without the processor's instruction.
 * I2. em_crc32c(em_crc32c(0, a), b) is the sum of a and b joined.
 * Source of the format: RFC 3720 appendix B.4 (also iSCSI, ext4).
 */
#ifndef EM_CHECKSUM_H
#define EM_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Continues the sum crc (0 to start) over n bytes. */
uint32_t em_crc32c(uint32_t crc, const void *bytes, size_t n);

#endif
