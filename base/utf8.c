#include "utf8.h"

size_t
em_utf8_sequence(const uint8_t *p, size_t n)
{
	size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;

	if (len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if (len == 3 && ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)))
		return 0;
	if (len == 4 && ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)))
		return 0;
	return len;
}

bool
em_is_utf8(struct em_span s)
{
	size_t i = 0, n;
	uint64_t eight;

	while (i < s.len) {
		while (s.len - i >= 8) {	/* most text is ASCII: eight bytes a step */
			memcpy(&eight, s.bytes + i, 8);
			if ((eight & 0x8080808080808080u) != 0)
				break;
			i += 8;
		}
		if (i == s.len)
			break;
		n = em_utf8_sequence(s.bytes + i, s.len - i);
		if (n == 0)
			return false;
		i += n;
	}
	return true;
}
