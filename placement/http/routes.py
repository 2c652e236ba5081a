"""What may be asked, by path and method. Each answers a response or raises one of our errors."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from splitplace.errors import NotFoundError, SplitPlaceError, UsageError
from splitplace.placement.http import asking, models, watching
from splitplace.placement.http.guard import EVENTS, LOGIN, LOGOUT, PAGE, ROOT
from splitplace.placement.http.requests import RepositoryIndexRequest, RepositoryRequest
from splitplace.placement.http.service import JSON, HttpService

Handler = Callable[[HttpService, Request], Awaitable[Response]]
SHARED_MEMORY = "no shared memory is offered: send tensors in the request's body, as JSON or binary data"
SETTINGS = "no such settings are offered over the network: they are the fleet's, given when it is started"


def answer(document: Any, status: int = 200) -> Response:
    """A JSON document."""
    return Response(json.dumps(document, allow_nan=False), status, media_type=JSON)


async def live(front: HttpService, request: Request) -> Response:
    """There is a server."""
    return Response()


async def ready(front: HttpService, request: Request) -> Response:
    """And its fleet takes tasks."""
    await front.check_ready()
    return Response()


async def server(front: HttpService, request: Request) -> Response:
    """What this is."""
    return answer({"name": "splitplace", "version": front.version, "extensions": list(models.EXTENSIONS)})


async def model(front: HttpService, request: Request) -> Response:
    """What a model takes and answers."""
    return answer(models.metadata(models.served(await front.model(request))))


async def model_ready(front: HttpService, request: Request) -> Response:
    """Whether it may be asked now."""
    split = await front.model(request)
    front.check_loaded(split.application)
    return await ready(front, request)


async def model_config(front: HttpService, request: Request) -> Response:
    """As Triton's configurations say it."""
    return answer(models.configuration(models.served(await front.model(request))))


async def statistics(front: HttpService, request: Request) -> Response:
    """Of one model, or of all."""
    names = (
        [(await front.model(request)).application] if "model" in request.path_params else sorted(await front.splits())
    )
    return answer({"model_stats": [front.statistics_of(name).document() for name in names]})


async def repository_index(front: HttpService, request: Request) -> Response:
    """Every model, and whether it is served here."""
    asked = await front.document(request, RepositoryIndexRequest)
    return answer(await front.index(asked.ready))


async def load(front: HttpService, request: Request) -> Response:
    """Serve a model that was unloaded; what is in the catalog is the fleet's."""
    split, asked = await front.model(request), await front.document(request, RepositoryRequest)
    front.load(split, asked.parameters)
    return Response()


async def unload(front: HttpService, request: Request) -> Response:
    """Take no more requests for a model at this front door; those under way are answered."""
    split, _ = await front.model(request), await front.document(request, RepositoryRequest)
    front.unloaded.add(split.application)
    return Response()


async def infer(front: HttpService, request: Request) -> Response:
    """Ask a model."""
    return await asking.infer(front, request, await front.model(request))


async def classify(front: HttpService, request: Request) -> Response:
    """Ask an application what is on some image files."""
    return await asking.classify(front, request, await front.model(request))


async def apps(front: HttpService, request: Request) -> Response:
    """One split of each application: how it reads images, and what its classes are called."""
    splits = await front.splits()
    return answer({"apps": [splits[name].model_dump(mode="json") for name in sorted(splits)]})


async def task(front: HttpService, request: Request) -> Response:
    """What became of a task."""
    return await asking.task(front, request)


async def cancel(front: HttpService, request: Request) -> Response:
    """Take a task back."""
    number = front.caller(request).task(request.path_params["task"])
    return answer({"task": request.path_params["task"], "was_under_way": await front.desk.cancel(number)})


async def metrics(front: HttpService, request: Request) -> Response:
    """For Prometheus."""
    try:
        status = await front.desk.status()
    except SplitPlaceError:
        status = None  # its absence says so
    return Response(front.metrics.text(status), media_type="text/plain; version=1.0.0; charset=utf-8")


async def no_shared_memory(front: HttpService, request: Request) -> Response:
    """Triton's clients ask for the regions that they registered; there are none."""
    if request.url.path.endswith("/register"):
        raise UsageError(SHARED_MEMORY)
    return answer([]) if request.method == "GET" else Response()


async def no_settings(front: HttpService, request: Request) -> Response:
    """Tracing and logging."""
    raise UsageError(SETTINGS)


async def nothing(front: HttpService, request: Request) -> Response:
    """No such path."""
    raise NotFoundError(f"no path {request.url.path[:200]!r}: expected one of the Open Inference Protocol, under /v2")


MODEL = "/v2/models/{model}"
TABLE: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/v2/health/live", live),
    ("GET", "/v2/health/ready", ready),
    ("GET", "/v2", server),
    ("GET", "/v2/models/stats", statistics),
    *(
        (method, f"{place}{tail}", handler)
        for place in (MODEL, MODEL + "/versions/{version}")
        for method, tail, handler in (
            ("GET", "", model),
            ("GET", "/ready", model_ready),
            ("GET", "/config", model_config),
            ("GET", "/stats", statistics),
            ("POST", "/infer", infer),
        )
    ),
    ("POST", "/v2/repository/index", repository_index),
    ("POST", "/v2/repository/models/{model}/load", load),
    ("POST", "/v2/repository/models/{model}/unload", unload),
    ("GET", "/v2/splitplace/apps", apps),
    ("POST", "/v2/splitplace/apps/{model}/classify", classify),
    ("GET", "/v2/splitplace/tasks/{task}", task),
    ("DELETE", "/v2/splitplace/tasks/{task}", cancel),
    ("GET", "/metrics", metrics),
    ("GET", ROOT, watching.root),
    ("GET", PAGE, watching.page),
    ("GET", LOGIN, watching.login),
    ("POST", LOGIN, watching.hand_in),
    ("POST", LOGOUT, watching.log_out),
    ("GET", f"{PAGE}/{{file}}", watching.page_file),
    ("GET", EVENTS, watching.events),
    ("GET", f"{EVENTS}/{{task}}", watching.task_story),
    *(
        (method, path, no_settings)
        for method in ("GET", "POST")
        for path in ("/v2/trace/setting", MODEL + "/trace/setting", "/v2/logging")
    ),
    *(("GET", f"/v2/{kind}sharedmemory{tail}", no_shared_memory) for kind in ("system", "cuda")
      for tail in ("/status", "/region/{region}/status")),
    *(("POST", f"/v2/{kind}sharedmemory{tail}", no_shared_memory) for kind in ("system", "cuda")
      for tail in ("/unregister", "/region/{region}/unregister", "/region/{region}/register")),
)  # fmt: skip


def build(bind: Callable[[Handler], Any]) -> list[Route]:
    """The routes, with each handler bound to its front door."""
    methods: dict[str, dict[str, Handler]] = {}
    for method, path, handler in TABLE:
        methods.setdefault(path, {})[method] = handler
    return [Route(path, bind(_by_method(found)), methods=list(found)) for path, found in methods.items()]


def _by_method(found: dict[str, Handler]) -> Handler:
    async def handle(front: HttpService, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await found[method](front, request)

    return handle
