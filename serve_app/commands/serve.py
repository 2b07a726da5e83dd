"""`fashion-tagger serve` and `config`: the service on this machine, and its Serve config file for a cluster."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console

from models.errors import TaggingError
from serve_app.client import TaggerClient
from serve_app.commands.console import err, out
from serve_app.commands.tag import response_table
from serve_app.config import DEMO_BUNDLE, TaggerArgs
from serve_app.cores import num_cores
from serve_app.deployments import ProfileName, deployment_options

if TYPE_CHECKING:
    from serve_app.start import StartOptions

_DEMO_PHOTO = Path("out/demo.jpg")
_DEMO_SEED = 512  # a top and a skirt on a figure, nothing hidden


def serve(
    bundle: Annotated[str, typer.Option(help="Path or fsspec URL of the bundle.")] = DEMO_BUNDLE,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    config: Annotated[
        Path | None, typer.Option(help="A Serve config file of ours: its args and deployments replace the options.")
    ] = None,
    api_keys: Annotated[Path | None, typer.Option(help="File of API keys; see the keys command.")] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Answer other machines without a key.")] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain in PEM: speak HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key in PEM.")] = None,
    demo: Annotated[bool, typer.Option(help="Tag a rendered photo once the service is up.")] = False,
) -> None:
    """Start the service on this machine and serve until Ctrl-C."""
    from serve_app.start import StartOptions, start_service, wait_for_signal

    if config is None:
        args, options = _local_args(bundle, device), StartOptions(host=host, port=port)
    else:
        args, options = _from_file(config, host, port)
    options = replace(options, tls_cert=tls_cert, tls_key=tls_key)
    keys_path = str(api_keys.absolute()) if api_keys else args.api_keys
    # The address is the command's, so whether it is open to everybody is too, whatever a file for clusters says.
    args = args.model_copy(update={"api_keys": keys_path, "no_auth": no_auth})
    if demo and (args.api_keys or tls_cert):
        raise typer.BadParameter("tags a photo over plain HTTP without a key", param_hint="--demo")
    with err.status("starting") as status:
        service = start_service(args, options, lambda step: status.update(step))
    with service:
        seconds = sum(service.durations_s.values())
        steps = ", ".join(f"{name} {duration_s:.0f}" for name, duration_s in service.durations_s.items())
        err.print(f"ready after {seconds:.0f} s ({steps})", highlight=False)
        photo = _demonstrate(service.url) if demo else Path("photo.jpg")
        # A console of its own: a line to copy must not be wrapped.
        lines = Console(soft_wrap=True, highlight=False)
        lines.print(f"page     {service.url}/\nmetrics  {service.metrics_url}\nCtrl-C to stop. Try:")
        key = " -H 'Authorization: Bearer <key>'" if args.api_keys else ""
        lines.print(f"curl{key} --data-binary @{photo} -H 'Content-Type: image/jpeg' {service.url}/v1/tag")
        wait_for_signal()
        err.print("stopping")


def config(
    bundle: Annotated[str, typer.Option(help="Path or fsspec URL of the bundle, as the cluster sees it.")],
    profile: Annotated[str, typer.Option(help="local, kind-cpu or gpu-prod.")] = "gpu-prod",
    sleeping: Annotated[list[str] | None, typer.Option(help="A category whose classifier may scale to zero.")] = None,
) -> None:
    """Write the Serve config file of a bundle to standard output: every deployment, its scaling and resources."""
    from typing import get_args

    from models.bundle import load_bundle
    from serve_app.serve_config import render_serve_config

    if profile not in get_args(ProfileName):
        raise typer.BadParameter(f"one of {', '.join(get_args(ProfileName))}", param_hint="--profile")
    args = TaggerArgs(bundle=bundle)
    print(render_serve_config(load_bundle(args.bundle_uri), profile, bundle, sleeping or ()), end="")  # type: ignore[arg-type]


def _local_args(bundle: str, device: str) -> TaggerArgs:
    """Arguments for this machine: torch threads so that a few busy models do not exceed the cores."""
    return TaggerArgs(bundle=bundle, device=device, num_threads=max(1, num_cores() // 4))


def _from_file(path: Path, host: str, port: int) -> tuple[TaggerArgs, "StartOptions"]:
    """Arguments and deployments of a Serve config file; address and port stay the command's."""
    from serve_app.start import StartOptions

    try:
        application: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["applications"][0]
        settings = {entry["name"]: entry for entry in application.get("deployments", [])}
        args = TaggerArgs.model_validate(application.get("args", {}))
    except (OSError, ValueError, KeyError, IndexError, TypeError, yaml.YAMLError) as exc:
        raise TaggingError(f"{path.name} is no Serve config file of ours; write one with the config command") from exc

    def options_of(name: str) -> dict[str, Any]:
        if name not in settings:
            return deployment_options(name)
        return {key: value for key, value in settings[name].items() if key != "name"}

    return args, StartOptions(host=host, port=port, options_of=options_of)


def _demonstrate(url: str) -> Path:
    """Render a photo, have the service tag it, print the answer; the path of the photo."""
    from PIL import Image

    from models.ontology import load_ontology
    from models.rendering.render import render_photo

    image, _ = render_photo(_DEMO_SEED, load_ontology())
    _DEMO_PHOTO.parent.mkdir(exist_ok=True)
    Image.fromarray(image).save(_DEMO_PHOTO, quality=90)
    with TaggerClient(url) as client:
        out.print(response_table(_DEMO_PHOTO.name, client.tag(_DEMO_PHOTO)))
    return _DEMO_PHOTO
