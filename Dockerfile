# One image for server and controller: `ci serve` by default, `ci controller` beside it (see docker-compose.yml).
ARG BASE_IMAGE=python:3.12-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY ci_cli ci_cli
COPY ci_client ci_client
COPY ci_common ci_common
COPY ci_controller ci_controller
COPY ci_persistence ci_persistence
COPY ci_selftest ci_selftest
COPY ci_server ci_server
COPY ci_ui ci_ui
COPY scripts/hatch_ui.py scripts/
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${BASE_IMAGE}
# Packages of Debian, for example postgresql-client: with PostgreSQL, `ci backup` and `ci restore` need pg_dump.
ARG IMAGE_PACKAGES=
RUN if [ -n "$IMAGE_PACKAGES" ]; then \
        apt-get update && apt-get install --yes --no-install-recommends $IMAGE_PACKAGES && rm -rf /var/lib/apt/lists/*; \
    fi
COPY --from=build /wheels /wheels
RUN python -m pip install --no-cache-dir "$(echo /wheels/*.whl)[postgresql]" && rm -r /wheels
# Root, because the controller needs the engine's socket, whose group differs from host to host.
ENV PYTHONUNBUFFERED=1 \
    CI_HOST=0.0.0.0
EXPOSE 8000
ENTRYPOINT ["ci"]
CMD ["serve"]
