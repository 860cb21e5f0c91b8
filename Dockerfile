# The image of Tandem: three static programs, certificates, time zones, and nothing else. Builds with the classic
# builder and with BuildKit, hence no --mount, no COPY --chmod and no syntax line.

# BuildKit compiles on the machine's own platform for the one asked for. The classic builder sets neither variable;
# "linux" alone means the machine's own architecture to it.
FROM --platform=${BUILDPLATFORM:-linux} golang:1.26-bookworm AS build
ARG GOPROXY
ARG TARGETARCH
ENV CGO_ENABLED=0 GOARCH=$TARGETARCH
WORKDIR /src
# What takes long to compile and seldom changes, in a layer of its own.
COPY go.mod go.sum ./
RUN go build -trimpath modernc.org/sqlite github.com/jackc/pgx/v5/pgxpool github.com/pressly/goose/v3 \
    github.com/prometheus/client_golang/prometheus/promhttp gopkg.in/telebot.v3
COPY cmd cmd
COPY internal internal
ARG VERSION=dev
ARG COMMIT=unknown
# PID 1 is rather small than fast (docs/adr/0060); the same in the Makefile.
RUN flags="-s -w -X tandem/internal/buildinfo.Version=$VERSION -X tandem/internal/buildinfo.Commit=$COMMIT" \
 && go build -trimpath -o /out/root/ -ldflags "$flags" ./cmd/web ./cmd/bot \
 && go build -trimpath -o /out/root/ -ldflags "-funcalign=8 $flags" -gcflags 'tandem/...=-l' ./cmd/init
# Programs that their own user may run and not read have their /proc files closed to that user by the kernel: the
# bot's token stays out of web's sight.
RUN cd /out/root && chmod 0755 init && chmod 0711 web bot \
 && mkdir -p etc/ssl/certs usr/share run \
 && echo 'root:x:0:0:root:/:/sbin/nologin\ntandem:x:65532:65532:Tandem:/data:/sbin/nologin' > etc/passwd \
 && echo 'root:x:0:\ntandem:x:65532:' > etc/group \
 && cp /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/ \
 && cp -a /usr/share/zoneinfo usr/share/ && rm -rf usr/share/zoneinfo/posix usr/share/zoneinfo/right \
 && mkdir -p /out/data/data /out/run/tandem && chmod 0700 /out/data/data /out/run/tandem

FROM scratch
ARG VERSION=dev
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="Tandem" \
      org.opencontainers.image.description="A web inbox and its Telegram bot in one container; \
the bot's failures never take the web down" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"
COPY --from=build /out/root/ /
COPY --from=build --chown=65532:65532 /out/data/ /
COPY --from=build --chown=65532:65532 /out/run/ /run/
ENV PATH=/ \
    DATABASE_URL=sqlite:/data/tandem.db
USER 65532:65532
VOLUME /data
EXPOSE 8080 9090 9091
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 CMD ["/web", "healthcheck"]
ENTRYPOINT ["/init"]
