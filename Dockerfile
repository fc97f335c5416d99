# deploy/image builds it with all arguments set. Without them the labels and
# --version lack the revision and the date, and nothing else.
FROM --platform=$BUILDPLATFORM golang:1.26.8 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG REVISION=""
ARG SOURCE_DATE_EPOCH=""
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH deploy/build /out/vbaws_exporter \
    && deploy/licenses /out/vbaws_exporter >/out/copyright \
    && mkdir -m 700 /out/data

# Time zones are in the binary.
FROM scratch
# For appliances with a certificate of a public authority, and for proxies.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/vbaws_exporter /bin/vbaws_exporter
COPY --from=build /out/copyright /usr/share/doc/vbaws_exporter/copyright
COPY --from=build --chown=65534:65534 /out/data /data
ARG VERSION=""
ARG REVISION=""
ARG CREATED=""
LABEL org.opencontainers.image.title="vbaws_exporter" \
      org.opencontainers.image.description="Prometheus exporter for Veeam Backup for AWS" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
USER 65534:65534
VOLUME /data
EXPOSE 10105
# Only the demo wants a temporary folder, and there is no other place.
ENV TMPDIR=/data
# Where it listens elsewhere: --health-cmd, with --web.listen-address.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["/bin/vbaws_exporter", "healthcheck"]
ENTRYPOINT ["/bin/vbaws_exporter", "--config.file=/config/config.yml"]
CMD ["serve", "--storage.path=/data"]
