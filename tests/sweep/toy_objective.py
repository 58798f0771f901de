"""An objective without training, for worker processes of tests: each run leaves a line in `ran.txt`."""

import os
import time


class Toy:
    """value = x - (y - 3)²; behavior by override: `sleep=seconds`, `fail=message`, `die=true`, `steps=n`."""

    def __init__(self, job, environment):
        self.log = os.path.join(job.folder, "ran.txt")

    def __call__(self, overrides, folder, progress):
        given = dict(o.split("=", 1) for o in overrides)
        with open(self.log, "a") as file:
            file.write(f"{os.getpid()} {' '.join(overrides)}\n")
        until = time.monotonic() + float(given.get("sleep", 0))
        while time.monotonic() < until:
            time.sleep(0.01)
        if given.get("fail_if") == given.get("x", ""):
            raise ValueError(f"x may not be {given['x']}")
        if given.get("die_if") == given.get("x", ""):
            flag = os.path.join(os.path.dirname(self.log), "died")
            if not os.path.exists(flag):
                open(flag, "w").close()
                folder.mkdir(parents=True)
                (folder / "metrics.json").write_text('{"status": "running"}')
                os.kill(os.getpid(), 9)
        value = float(given["x"]) - (float(given.get("y", 3)) - 3) ** 2 + float(given.get("seed", 0)) / 1000
        for step in range(int(given.get("steps", 0))):
            progress.step(step, value)
        return {"": value, "cost": float(given["x"])}
