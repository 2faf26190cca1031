"""PostgreSQL and Apache Kafka as local processes: for people (`make services-up`) and for the tests, by the same code.

    python3 deploy/servers.py up | down

Standard library only. Everything listens on 127.0.0.1. `up` keeps its data under .services/, starts only what does not run yet, and prints
the two `export` lines that Dripline needs; `down` stops by pid what `up` started. Kafka is a real one in KRaft mode, its jars fetched once.
"""

import fcntl
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
POM = ROOT / "deploy" / "kafka" / "pom.xml"
JARS = ROOT / ".services" / "kafka-jars"
SERVICES = ROOT / ".services"
QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""For a Java that starts fast and stays small."""
PATIENCE = 60.0
"""Seconds a server gets to come up, and to go down."""


class Missing(Exception):
    """A server cannot be had on this machine; the text names the remedy."""


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Process:
    """A server's process, with its output in a file beside its data."""

    command: Sequence[str]
    log: Path
    user: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    child: "subprocess.Popen[bytes] | None" = None

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.child = subprocess.Popen(
                list(self.command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**os.environ, **self.environ},
                start_new_session=True,
                user=self.user,
                group=self.user,
                extra_groups=[] if self.user else None,
            )

    def wait_for(self, port: int) -> None:
        """Return once something listens on the port; raises Missing where the process ends before, or takes too long."""
        assert self.child is not None
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            if is_listening(port):
                return
            if self.child.poll() is not None:
                break
            time.sleep(0.05)
        said = self.log.read_text(errors="replace").strip().splitlines()[-5:]
        raise Missing("\n".join([f"{self.command[0]} did not come up on port {port}; {self.log} ends with:", *said]))

    def tell(self, how: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(how)

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End it and wait for its end; a dead one stays dead."""
        if self.child is None or self.child.poll() is not None:
            return
        self.tell(how)
        try:
            self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait(PATIENCE)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Postgres:
    """One PostgreSQL server on a data folder of its own. Root may not run it: then it runs as the system's user `postgres`."""

    def __init__(self, folder: Path, port: int | None = None, *, durable: bool = True) -> None:
        """`durable=False` leaves fsync out: for tests, which survive no power cut anyway."""
        self.folder = folder
        self.port = port or free_port()
        self._durable = durable
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def url(self, database: str = "dripline") -> str:
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Make the data folder if there is none, start, make the database `dripline`. Raises Missing."""
        user = _postgres_user()
        data = self.folder / "data"
        self.folder.mkdir(parents=True, exist_ok=True)
        if user:
            shutil.chown(self.folder, user, user)
        if not (data / "PG_VERSION").exists():
            _run([_binary("initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-locale", "--no-sync"], user)
        off = [] if self._durable else ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]
        here = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=200"]
        command = [_binary("postgres"), "-D", str(data), "-p", str(self.port), *here, *off]
        self._process = Process(command, self.folder / "postgres.log", user)
        self._process.start()
        self._process.wait_for(self.port)
        self.make_database("dripline")

    def stop(self, how: int = signal.SIGINT) -> None:
        """End it quickly but cleanly (SIGINT is PostgreSQL's fast shutdown), or as `how` says."""
        if self._process:
            self._process.stop(how)

    def make_database(self, name: str) -> None:
        """Make a database unless it is there already."""
        wanted = f"SELECT 'CREATE DATABASE {name}' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}')\\gexec"
        ask = [_binary("psql"), "-qX", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", "postgres"]
        ends = time.monotonic() + PATIENCE
        while True:  # it listens a moment before it lets anybody in
            made = subprocess.run(ask, input=wanted, capture_output=True, text=True, check=False)
            if made.returncode == 0 and "ERROR" not in made.stderr:
                return
            if time.monotonic() > ends:
                raise Missing(f"PostgreSQL runs on port {self.port} but lets nobody in: {made.stderr.strip()}")
            time.sleep(0.1)


@dataclass(frozen=True)
class Quorum:
    """What the brokers of one cluster agree on: its id, and the port of each one's controller, by node."""

    cluster_id: str
    controllers: Mapping[int, int]

    @classmethod
    def of(cls, nodes: int) -> "Quorum":
        return cls(secrets.token_hex(11), {node: free_port() for node in range(1, nodes + 1)})


class Kafka:
    """One Apache Kafka broker in KRaft mode, its own controller, on a data folder of its own: alone, or a node of a quorum."""

    def __init__(self, folder: Path, port: int | None = None, *, heap: str = "512m", node: int = 1, quorum: Quorum | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self._node = node
        self._quorum = quorum or Quorum.of(1)
        self._heap = heap
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True) -> None:
        """Fetch the jars if need be, format the data folder if it is new, start. Raises Missing. Without `wait` it comes up by itself."""
        java = shutil.which("java")
        if java is None:
            raise Missing("Kafka needs Java 17 or newer. Install it: sudo apt install openjdk-17-jre-headless")
        jars = fetch_jars()
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.folder / "server.properties"
        settings.write_text(self._settings())
        if not (self.folder / "data" / "meta.properties").exists():
            tool = [java, *QUICK, "-cp", f"{jars}/*", "kafka.tools.StorageTool"]
            _run([*tool, "format", "-t", self._quorum.cluster_id, "-c", str(settings)])
        memory = [f"-Xmx{self._heap}", f"-Xms{self._heap}", *QUICK]
        self._process = Process([java, *memory, "-cp", f"{jars}/*", "kafka.Kafka", str(settings)], self.folder / "kafka.log")
        self._process.start()
        if wait:
            self.wait()

    def wait(self) -> None:
        """Return once it listens; raises Missing where it does not come up."""
        assert self._process is not None
        self._process.wait_for(self.port)

    def tell(self, how: int) -> None:
        """Send it a signal, unless it has ended."""
        if self._process:
            self._process.tell(how)

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self._process:
            self._process.stop(how)

    def _settings(self) -> str:
        """A broker for one machine: nothing appears by itself, and no group waits for more members than come at once."""
        controllers, nodes = self._quorum.controllers, len(self._quorum.controllers)
        return "\n".join(
            (
                "process.roles=broker,controller",
                f"node.id={self._node}",
                "controller.quorum.voters=" + ",".join(f"{node}@127.0.0.1:{port}" for node, port in controllers.items()),
                f"listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controllers[self._node]}",
                f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}",
                "controller.listener.names=CONTROLLER",
                "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                f"log.dirs={self.folder / 'data'}",
                "auto.create.topics.enable=false",
                f"offsets.topic.num.partitions={nodes}",
                f"offsets.topic.replication.factor={nodes}",
                "transaction.state.log.num.partitions=1",
                f"transaction.state.log.replication.factor={nodes}",
                "transaction.state.log.min.isr=1",
                "share.coordinator.state.topic.num.partitions=1",
                f"share.coordinator.state.topic.replication.factor={nodes}",
                "share.coordinator.state.topic.min.isr=1",
                "group.initial.rebalance.delay.ms=0",
                "",
            )
        )


class KafkaCluster:
    """Several brokers on one machine, so that one can go while the others hold what was acknowledged."""

    def __init__(self, folder: Path, size: int = 3, *, heap: str = "384m") -> None:
        quorum = Quorum.of(size)
        self.brokers = [Kafka(folder / f"broker-{node}", heap=heap, node=node, quorum=quorum) for node in quorum.controllers]

    @property
    def bootstrap(self) -> str:
        return ",".join(broker.bootstrap for broker in self.brokers)

    def start(self) -> None:
        """Start all; on return each listens. Raises Missing."""
        with ThreadPoolExecutor() as together:  # a broker comes up only with the majority of its quorum
            list(together.map(lambda broker: broker.start(wait=False), self.brokers))
        for broker in self.brokers:
            broker.wait()

    def stop(self, how: int = signal.SIGTERM) -> None:
        for broker in self.brokers:
            broker.tell(how)
        for broker in self.brokers:
            broker.stop(how)


def fetch_jars() -> Path:
    """Kafka's jars, fetched once, by one of several brokers that start together; a change of the pom fetches them anew."""
    SERVICES.mkdir(exist_ok=True)
    with (SERVICES / "kafka-jars.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        return _fetched()


def _fetched() -> Path:
    stamp = JARS / ".complete"
    if stamp.exists() and stamp.read_bytes() == POM.read_bytes():
        return JARS
    maven = shutil.which("mvn")
    if maven is None:
        raise Missing("Kafka's jars are fetched by Maven. Install it: sudo apt install maven")
    shutil.rmtree(JARS, ignore_errors=True)
    _run([maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={JARS}"])
    stamp.write_bytes(POM.read_bytes())
    return JARS


def _binary(name: str) -> str:
    """A program of the newest PostgreSQL here: Debian keeps the server's out of the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    path = str(found[-1]) if found else shutil.which(name)
    if path is None:
        raise Missing("PostgreSQL is not here. Install it: sudo apt install postgresql")
    return path


def _postgres_user() -> str | None:
    """Whom the server runs as; None: as who we are."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam("postgres")
    except KeyError as error:
        raise Missing("PostgreSQL refuses to run as root, and there is no user `postgres`: sudo apt install postgresql") from error
    return "postgres"


def _run(command: Sequence[str], user: str | None = None) -> str:
    done = subprocess.run(list(command), capture_output=True, text=True, check=False, cwd="/", user=user, group=user)
    if done.returncode:
        raise Missing(f"{command[0]} failed:\n{(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


STATE = SERVICES / "running.json"
PORTS = {"postgres": 8432, "kafka": 8092}
"""Where `up` puts them; another port is taken where this one is not free."""


def up() -> int:
    """Start what does not run yet, print how to reach it."""
    running = _running()
    postgres = Postgres(SERVICES / "postgres", running["postgres"]["port"] if "postgres" in running else _port("postgres"))
    kafka = Kafka(SERVICES / "kafka", running["kafka"]["port"] if "kafka" in running else _port("kafka"))
    for name, server in (("postgres", postgres), ("kafka", kafka)):
        if name not in running:
            print(f"Starting {name} on 127.0.0.1:{server.port}", file=sys.stderr, flush=True)
            server.start()
            running[name] = {"pid": server.pid, "port": server.port}
            STATE.write_text(json.dumps(running))
    print(f"export DRIPLINE_DATABASE_URL={postgres.url()}")
    print(f"export DRIPLINE_KAFKA_BOOTSTRAP={kafka.bootstrap}")
    return 0


def down() -> int:
    """Stop what `up` started; the data stays."""
    for name, known in _running().items():
        print(f"Stopping {name}, pid {known['pid']}", file=sys.stderr, flush=True)
        _end(known["pid"], signal.SIGINT if name == "postgres" else signal.SIGTERM)
    STATE.unlink(missing_ok=True)
    return 0


def _running() -> dict[str, dict[str, int]]:
    """What `up` started and still runs."""
    try:
        known: dict[str, dict[str, int]] = json.loads(STATE.read_text())
    except (OSError, ValueError):
        return {}
    return {name: one for name, one in known.items() if is_listening(one["port"]) and _is_alive(one["pid"])}


def _end(pid: int, how: int) -> None:
    os.kill(pid, how)
    ends = time.monotonic() + PATIENCE
    while _is_alive(pid) and time.monotonic() < ends:
        time.sleep(0.1)
    if _is_alive(pid):
        os.kill(pid, signal.SIGKILL)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def _port(name: str) -> int:
    return PORTS[name] if not is_listening(PORTS[name]) else free_port()


def main(words: Sequence[str]) -> int:
    """0 done, 1 it cannot be done here, 2 wrong use."""
    commands = {"up": up, "down": down}
    if len(words) != 1 or words[0] not in commands:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    try:
        return commands[words[0]]()
    except Missing as missing:
        print(f"\n{missing}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
