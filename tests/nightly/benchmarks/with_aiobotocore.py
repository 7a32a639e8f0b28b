"""aiobotocore's paginator, given a description of WeChat's call as it has one for each of AWS's."""

from __future__ import annotations

import contextlib

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore import UNSIGNED
from botocore.loaders import Loader


def _structure(**members):
    return {"type": "structure", "members": {name: {"shape": of} for name, of in members.items()}}


_ASKED = _structure(access_token="Text", env="Text", limit="Number", offset="Number")
_ASKED["members"]["access_token"] |= {"location": "querystring", "locationName": "access_token"}
_ROW = ("name", "status", "runtime", "add_time", "mod_time")
_DESCRIPTION = {
    "metadata": {"apiVersion": "1", "endpointPrefix": "tcb", "protocol": "rest-json"}
    | {"serviceId": "tcb"},
    "operations": {
        "ListFunctions": {
            "name": "ListFunctions",
            "http": {"method": "POST", "requestUri": "/tcb/listfunctions"},
            "input": {"shape": "Asked"},
            "output": {"shape": "Answer"},
        }
    },
    "shapes": {
        "Text": {"type": "string"},
        "Number": {"type": "integer"},
        "Asked": _ASKED,
        "Row": _structure(**dict.fromkeys(_ROW, "Text")),
        "Rows": {"type": "list", "member": {"shape": "Row"}},
        "Answer": _structure(total_count="Number", functions="Rows"),
    },
}
_PAGES = {"input_token": "offset", "output_token": "next_offset", "result_key": "functions"}
_FILES = {
    "service-2": _DESCRIPTION,
    "paginators-1": {"pagination": {"ListFunctions": _PAGES}},
}


class _Loader(Loader):
    def load_service_model(self, service_name, type_name, api_version=None):
        if service_name == "tcb" and type_name in _FILES:
            return _FILES[type_name]
        return super().load_service_model(service_name, type_name, api_version)


def _remember_offset(params, context, **_):
    context["offset"] = params["offset"]


def _add_next_offset(parsed, context, **_):
    """Add a field that AWS sends: a description cannot add two numbers."""
    end = context["offset"] + len(parsed["functions"])
    if end < parsed["total_count"]:
        parsed["next_offset"] = end


@contextlib.asynccontextmanager
async def walk(asked):
    """Iterate over the functions of its pages, one page after the other."""
    session = get_session()
    session.register_component("data_loader", _Loader())
    config = AioConfig(signature_version=UNSIGNED)
    async with session.create_client(
        "tcb", region_name="none", endpoint_url=asked.base_url, config=config
    ) as client:
        client.meta.events.register("before-parameter-build.tcb", _remember_offset)
        client.meta.events.register("after-call.tcb", _add_next_offset)
        pages = client.get_paginator("list_functions").paginate(**asked.query, **asked.body(0))
        yield (function async for page in pages for function in page["functions"])
