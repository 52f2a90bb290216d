"""The TypeScript client is generated from the API's description, compiles strictly, and works against a console."""

import re
import shutil
from pathlib import Path

import pytest
from tests.e2e.conftest import Stack
from tests.support.toolchains import NPM_CI, MissingToolError, built, fetched, find, leave_out

from tollgate.console.document import FILE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "clients" / "typescript"
PRINTED = re.compile(r"^```typescript\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_the_typescript_client_compiles_and_records_checks_and_reserves(stack: Stack, tmp_path: Path) -> None:
    # Where it stands in the checkout, because it reads the description from there.
    package = tmp_path / "clients" / "typescript"
    shutil.copytree(CLIENT, package, ignore=shutil.ignore_patterns("node_modules", "dist", "api.ts"))
    description = tmp_path / "schemas" / "generated" / FILE.name
    description.parent.mkdir(parents=True)
    shutil.copy(FILE, description)
    try:
        find("node", "nodejs", least=(20,))
        npm = find("npm", "npm")
        fetched(npm, *NPM_CI[1:], cwd=package)
    except MissingToolError as error:
        leave_out(error)
    # What the page shows compiles too.
    (shown,) = PRINTED.findall((ROOT / "docs" / "integrate.md").read_text(encoding="utf-8"))
    (package / "test" / "shown.ts").write_text(shown.replace("@tollgate/client", "../src/index.js"), encoding="utf-8")
    built(npm, "run", "build", cwd=package)
    token = stack.tollgate.ok("token", "create", "--role", "admin", "--name", "typescript", "--json").json()["token"]
    port = stack.tollgate.ok("status", "--json").json()["ports"]["console"]
    variables = {"TOLLGATE_URL": f"http://127.0.0.1:{port}", "TOLLGATE_TOKEN": token}
    printed = built(npm, "test", cwd=package, variables=variables)
    assert "# pass 5" in printed, printed
