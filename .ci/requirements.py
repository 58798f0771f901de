"""Print the requirements of the installed fmlab, one a line, without extras and without the packages that are named."""

import re
import sys
from importlib.metadata import requires

for line in requires("fmlab") or []:
    name = re.split(r"[^\w.-]", line)[0]
    if "extra ==" not in line and name not in sys.argv[1:]:
        print(line)
