import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "integration"))
from fixtures import supervisor  # noqa: E402,F401
