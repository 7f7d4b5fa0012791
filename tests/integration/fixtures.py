import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import harness  # noqa: E402


@pytest.fixture
def supervisor(tmp_path):
    made = []

    def make(**options):
        made.append(harness.Supervisor(tmp_path / f"em{len(made)}", **options))
        return made[-1]

    yield make
    for s in made:
        try:
            s.stop()
        except BaseException:
            print(s.log.read_text()[-8000:])
            harness.kill_all_under(s.dir)
            raise
        finally:
            if s.process and s.process.poll() is None:
                s.process.kill()
            harness.kill_all_under(s.dir)
