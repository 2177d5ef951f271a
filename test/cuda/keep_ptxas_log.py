"""A compiler launcher for CMake: runs nvcc, and keeps what `-Xptxas -v` prints beside the object."""

import subprocess
import sys
from pathlib import Path

SUFFIX = ".ptxas.txt"

if __name__ == "__main__":
    command = sys.argv[1:]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    sys.stderr.write(done.stderr)
    if "-o" in command:
        Path(command[command.index("-o") + 1] + SUFFIX).write_text(done.stderr)
    sys.exit(done.returncode)
