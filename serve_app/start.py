"""Starting the service on this machine: a Ray instance of its own, Serve, the application; and stopping it cleanly.

Ray reads its flags when it is imported, so this module imports it only after they are set.
"""

import ipaddress
import logging
import math
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from serve_app.config import TaggerArgs
from serve_app.cores import num_cores
from serve_app.deployments import APPLICATION, REQUEST_LIMIT_S, deployment_options
from serve_app.errors import ServiceError
from serve_app.keys import read_keys
from serve_app.standin import StandIn

if TYPE_CHECKING:
    from ray.serve import Application

Report = Callable[[str], None]
OptionsOf = Callable[[str], dict[str, Any]]
Build = Callable[[OptionsOf], "Application"]

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    # Not only a matter of Windows and macOS: it is what makes every server of Ray's own bind to loopback.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Said explicitly, since Ray's default changed back and forth; our methods are all async.
    "RAY_SERVE_RUN_SYNC_IN_THREADPOOL": "1",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_app.edge:edge_middleware",
    # Between deployments gRPC carries what Ray would put into shared memory by way of four messages. Its limit is
    # 4 MiB, while the crops of one photo may have 5, and the manifest of a job 128.
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(256 * 2**20),
    # All of a replica on one event loop: nothing of ours blocks it, and each loop more is a thread to wake per call.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    # Who finds all replicas full asks again after pauses that double up to this. With Serve's half a second a router
    # stood idle although photos waited: a quarter fewer answers when more wait than it takes at once.
    "RAY_SERVE_ROUTER_RETRY_MAX_BACKOFF_S": "0.05",
    # A replica whose model hangs would be given 35 s to finish what it cannot finish, and keep its GPU for as long.
    "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",
    # Serve misses a dead proxy only after three checks. Checking every 10 s nobody was answered for 27 s; a proxy that
    # is merely busy has 10 s for each check whatever their period.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "0.5",
    # Serve gives its proxy 5 s to start, then kills it and gives up; a busy machine may need longer.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    # Ray would hide the GPUs from replicas that hold no share of one, and warn that it will stop doing so.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    # Ray would run replicas at niceness 15, where any other program on the machine starves them.
    "RAY_worker_niceness": "0",
    # For half an hour the raylet grew by what its allocator keeps ready for each of its 29 threads: 13 of 21 MB.
    "RAY_JEMALLOC_PROFILE": "raylet,gcs_server",
    "RAY_JEMALLOC_CONF": "tcache:false",
    # glibc gives every thread a heap of its own and back only the end of one: of 60 MB free in a router's heaps half
    # stayed resident, and more each hour. Our threads are few and our arrays large, so that one heap is as fast.
    "MALLOC_ARENA_MAX": "1",
    # Ray reports as a failure that Serve's controller ends while it is asked to end.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "ServeController.graceful_shutdown",
}
_LOGGING = {"log_level": "WARNING"}  # at INFO every replica writes a line per call, twice
_OBJECT_STORE_BYTES = 512 * 2**20  # canvases and crops in flight; Ray would take a third of the memory
_HEADROOM_CPUS = 1.0
_START_LIMIT_S = 900.0
_POLL_S = 0.2
_RAY_TRIES = 3
_SHUTDOWN_LIMIT_S = 15.0  # an instance that is whole has ended, Ray too, after 8


class StartError(ServiceError):
    """The service did not come up; the message says why."""


@dataclass(frozen=True, slots=True)
class StartOptions:
    """Where the service listens, and what Ray may use.

    Args:
        host: address of the HTTP interface; loopback unless the caller opens it.
        port: of the HTTP interface.
        metrics_port: where Ray exports metrics, on loopback; None for any free one.
        temp_dir: of Ray's logs and sockets, a short path; None for Ray's own.
        options_of: deployment name -> how much of it runs.
        tls_cert: certificate chain, PEM; with `tls_key` the interface speaks HTTPS only.
        tls_key: its private key, PEM.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    tls_cert: Path | None = None
    tls_key: Path | None = None
    metrics_port: int | None = None
    temp_dir: Path | None = None
    options_of: OptionsOf = deployment_options


class RunningService:
    """A started service; leaving the context stops it.

    `url` is its HTTP interface, `metrics_url` where Prometheus reads; `durations_s` are seconds per step of the start.
    """

    def __init__(self, url: str, metrics_url: str, durations_s: Mapping[str, float], stand_in: StandIn) -> None:
        self.url = url
        self.metrics_url = metrics_url
        self.durations_s = durations_s
        self._stand_in = stand_in

    def stop(self) -> None:
        """End every process; Serve ends its proxy first, so requests in flight are cut off."""
        self._stand_in.stop()
        _shut_down()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_service(
    args: TaggerArgs, options: StartOptions, report: Report, build: Build | None = None
) -> RunningService:
    """Start Ray, Serve and the application, and wait until every deployment answers.

    Args:
        args: what is answered.
        options: where, and with how much.
        report: told in a few words what is being waited for.
        build: binds the application, given the deployments' options; None for that of the bundle in `args`.

    Raises:
        BundleError: if the bundle cannot be used.
        KeyFileError: if the file of API keys cannot be used.
        StartError: if the port is taken, a deployment fails to start, or strangers could ask without a key.
    """
    check_access(args, options)
    prepare_environment()
    clock = _Clock()
    try:
        report("importing Ray")
        from ray import serve

        clock.lap("import")
        report("checking the bundle")
        options_of = _NotingOptions(options.options_of)
        application = build(options_of) if build else _bind_bundle(args, options_of)
        clock.lap("bundle")
        report("starting Ray")
        context = start_ray(
            _ray_options(options, options_of.num_cpus + (args.jobs_workers if args.jobs_dir else 0)), report
        )
        clock.lap("ray")
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        report("starting Serve")
        serve.start(http_options=_http_options(options), logging_config=_LOGGING)
        clock.lap("serve")
        _deploy(application, report)
        clock.lap("replicas")
    except BaseException:
        _shut_down()
        raise
    metrics_port = context.address_info["metrics_export_port"]
    metrics_host = context.address_info["node_ip_address"]
    scheme = "https" if options.tls_cert else "http"
    stand_in = StandIn(options.host, options.port)
    stand_in.start()
    return RunningService(
        f"{scheme}://{options.host}:{options.port}",
        f"http://{metrics_host}:{metrics_port}/metrics",
        clock.laps_s,
        stand_in,
    )


def check_access(args: TaggerArgs, options: StartOptions) -> None:
    """Refuse what would let strangers in unasked, or could not let anybody in.

    Raises:
        KeyFileError: if the file of API keys cannot be used.
        StartError: if other machines could ask without a key and nobody said so, or half of TLS is missing.
    """
    if args.api_keys:
        read_keys(Path(args.api_keys))
    elif not args.no_auth and not is_loopback(options.host):
        raise StartError(
            f"{options.host} is open to other machines: name a file of API keys (--api-keys; "
            "`fashion-tagger keys add` makes one), or say --no-auth"
        )
    for path, other in ((options.tls_cert, options.tls_key), (options.tls_key, options.tls_cert)):
        if path and (other is None or not path.is_file()):
            raise StartError("TLS needs two files that exist, --tls-cert and --tls-key")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address to listen on; names other than localhost count as reachable."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def prepare_environment() -> None:
    """Set the flags that Ray reads on import; what the user has set stays.

    The token keeps other users of this machine from Ray's ports; it lives in the environment of our processes only.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def wait_for_signal() -> None:
    """Return on SIGINT or SIGTERM; call it in the main thread, after the start, since Ray sets handlers too."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while not stopped.wait(1.0):  # a wait without an end would not be interrupted on every platform
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _bind_bundle(args: TaggerArgs, options_of: OptionsOf) -> "Application":
    from serve_app.app import bind_bundle

    return bind_bundle(args, options_of)


def _ray_options(options: StartOptions, num_cpus: float) -> dict[str, Any]:
    chosen = local_ray_options(num_cpus)
    if options.metrics_port is not None:
        chosen["_metrics_export_port"] = options.metrics_port
    if options.temp_dir is not None:
        chosen["_temp_dir"] = str(options.temp_dir)
    return chosen


def local_ray_options(num_cpus: float) -> dict[str, Any]:
    """Keywords of `ray.init` for an instance of our own on this machine."""
    return {
        "address": "local",  # a Ray instance that runs already stays as it is
        "num_cpus": num_cpus,
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
    }


def start_ray(options: dict[str, Any], report: Report) -> Any:
    """Start Ray, again if its node gives up: it allows its agents 15 s to start, and a busy machine may need longer.

    What a try leaves behind ends with this process.
    """
    import ray

    for left in reversed(range(_RAY_TRIES)):
        try:
            return ray.init(**options)
        except Exception as exc:  # Ray raises no class of its own here
            if "timed out during startup" not in str(exc):
                raise
            if not left:
                raise StartError("the machine is too busy: Ray gave up starting; try again later", repr(exc)) from exc
            report("the machine is busy and Ray gave up starting, trying again")
            ray.shutdown()


def _http_options(options: StartOptions) -> dict[str, Any]:
    return {
        "host": options.host,
        "port": options.port,
        "request_timeout_s": REQUEST_LIMIT_S,  # above our own deadlines, so that ours answer first
        "keep_alive_timeout_s": 90,
        "ssl_certfile": options.tls_cert and str(options.tls_cert),
        "ssl_keyfile": options.tls_key and str(options.tls_key),
    }


class _NotingOptions:
    """Hands out options, and adds up the logical CPUs of every deployment at its most."""

    def __init__(self, options_of: OptionsOf) -> None:
        self._options_of = options_of
        self._options: dict[str, dict[str, Any]] = {}

    def __call__(self, name: str) -> dict[str, Any]:
        self._options[name] = self._options_of(name)
        return self._options[name]

    @property
    def num_cpus(self) -> int:
        """What Ray is told to have: whatever the machine has, every deployment has to find a place."""
        needed = _HEADROOM_CPUS
        for options in self._options.values():
            scaling = options.get("autoscaling_config") or {}
            replicas = scaling.get("max_replicas", options.get("num_replicas", 1))
            needed += replicas * options.get("ray_actor_options", {}).get("num_cpus", 1)
        return max(num_cores(), math.ceil(needed))


def _deploy(application: "Application", report: Report) -> None:
    """Deploy and wait, reporting which deployments are still missing."""
    from ray import serve
    from ray.serve.api import RunTarget, run_many
    from ray.serve.schema import ApplicationStatus

    target = RunTarget(target=application, name=APPLICATION, route_prefix="/", logging_config=_LOGGING)
    run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
    said = ""
    until = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < until:
        status = serve.status().applications.get(APPLICATION)
        if status is not None and status.status == ApplicationStatus.RUNNING:
            return
        if status is not None and status.status in (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY):
            raise StartError("a deployment failed to start; the logs of Ray say why", _reasons(status))
        text = _missing(status)
        if text != said:
            report(text)
            said = text
        time.sleep(_POLL_S)
    raise StartError(f"the service was not ready within {_START_LIMIT_S:.0f} s; last: {said}")


def _missing(status: Any) -> str:
    if status is None or not status.deployments:
        return "waiting for the deployments"
    missing = [name for name, deployment in status.deployments.items() if deployment.status != "HEALTHY"]
    num_ready = len(status.deployments) - len(missing)
    return f"loading models: {num_ready} of {len(status.deployments)} ready, waiting for {', '.join(missing)}"


def _reasons(status: Any) -> str:
    """The last line of what each deployment says, which is the error below its traceback."""
    return "\n".join(
        f"{name}: {deployment.message.strip().splitlines()[-1]}"
        for name, deployment in status.deployments.items()
        if deployment.message.strip()
    )


def _shut_down() -> None:
    """Stop Serve, then Ray; harmless where nothing runs, and bounded where Ray has ended already."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return
    from ray import serve

    def stop_serve() -> None:
        with suppress(Exception):  # Ray ends below in any case, and its processes with it
            serve.shutdown()  # type: ignore[no-untyped-call]

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    # Who signals the whole process group (systemd, timeout) ends Ray's node first, and Serve waits for it without end.
    stopping = threading.Thread(target=stop_serve, daemon=True)
    stopping.start()
    stopping.join(_SHUTDOWN_LIMIT_S)
    ray.shutdown()


class _Clock:
    def __init__(self) -> None:
        self._last = time.monotonic()
        self.laps_s: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps_s[name] = round(now - self._last, 2)
        self._last = now
