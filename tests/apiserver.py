"""A real API server as its users meet it: through kubectl."""

import itertools
import json
import subprocess


class Server:
    """An API server, spoken to as its users do: with kubectl."""

    def __init__(self, plane):
        self.plane = plane
        self._numbers = itertools.count(1)

    def run(self, *arguments, manifest=None):
        """Run kubectl, whatever it answers."""
        given = None if manifest is None else json.dumps(manifest)
        argv = self.plane.command(["kubectl", *arguments])
        return subprocess.run(argv, input=given, capture_output=True, text=True, check=False)

    def kubectl(self, *arguments, manifest=None):
        """Run kubectl; a refusal fails the test with kubectl's words."""
        answer = self.run(*arguments, manifest=manifest)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def read(self, *arguments, manifest=None):
        """Run kubectl and read the object that it answers."""
        return json.loads(self.kubectl(*arguments, "-o", "json", manifest=manifest))

    def create(self, namespace, manifest):
        """Store the object and return it as it was stored."""
        return self.read("create", "-n", namespace, "-f", "-", manifest=manifest)

    def accepted(self, manifest):
        """Return the object as it would be stored."""
        return self.read("create", "--dry-run=server", "-f", "-", manifest=manifest)

    def refusal(self, manifest):
        """Tell why the object is refused."""
        answer = self.run("create", "--dry-run=server", "-o", "name", "-f", "-", manifest=manifest)
        assert answer.returncode != 0, "it was accepted"
        return answer.stderr

    def new_namespace(self):
        """Create a namespace that nobody else uses."""
        name = f"test-{next(self._numbers)}"
        self.kubectl("create", "namespace", name)
        return name
