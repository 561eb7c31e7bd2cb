# syntax=docker/dockerfile:1
# slasearch with its bundled model and tasks, for a user without rights. Two targets:
#
#   docker build --target cpu  --tag slasearch:cpu .     the default; `--build-arg TORCH_INDEX=URL` for a smaller torch
#   docker build --target cuda --tag slasearch:cuda .    for NVIDIA GPUs; the host needs NVIDIA's container toolkit
#
# Layers from the one that changes least to the one that changes most: torch, other packages, slasearch itself.

ARG PYTHON_IMAGE=python:3.12.12-slim-bookworm

# What is to be installed, and slasearch as a wheel; nothing else of this stage goes into an image.
FROM ${PYTHON_IMAGE} AS plan
WORKDIR /src
COPY pyproject.toml ./
RUN python <<'EOF'
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
wanted = [*project["dependencies"], *extras["bundled"], *extras["peft"], *extras["postgres"]]
torch = [requirement for requirement in wanted if requirement.startswith("torch>")]
Path("torch.txt").write_text("\n".join(torch))
Path("others.txt").write_text("\n".join(requirement for requirement in wanted if requirement not in torch))
EOF
COPY README.md LICENSE ./
COPY slasearch ./slasearch
RUN --mount=type=cache,target=/root/.cache/pip pip wheel --no-deps --wheel-dir /wheels .

FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN useradd --uid 1000 --create-home slasearch && install --directory --owner slasearch --group slasearch /data /hub /work
COPY --from=plan /src/torch.txt /tmp/

FROM base AS cuda
RUN --mount=type=cache,target=/root/.cache/pip pip install --requirement /tmp/torch.txt
COPY --from=plan /src/others.txt /tmp/
RUN --mount=type=cache,target=/root/.cache/pip pip install --requirement /tmp/others.txt
RUN --mount=type=bind,from=plan,source=/wheels,target=/wheels pip install --no-cache-dir --no-deps /wheels/*.whl
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER slasearch
WORKDIR /work
ENTRYPOINT ["slasearch"]
CMD ["--help"]

FROM base AS cpu
# Where pip finds PyTorch's builds for CPUs (pytorch.org names the address); empty: pip's default build, for GPUs too.
ARG TORCH_INDEX=
RUN --mount=type=cache,target=/root/.cache/pip pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} --requirement /tmp/torch.txt
COPY --from=plan /src/others.txt /tmp/
RUN --mount=type=cache,target=/root/.cache/pip pip install --requirement /tmp/others.txt
RUN --mount=type=bind,from=plan,source=/wheels,target=/wheels pip install --no-cache-dir --no-deps /wheels/*.whl
USER slasearch
WORKDIR /work
ENTRYPOINT ["slasearch"]
CMD ["--help"]
