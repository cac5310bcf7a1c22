# Installs and starts a Docker engine with Compose and buildx, for .ci/run; source it. Idempotent; for Debian and Ubuntu,
# as root or as a user who may use sudo.
#
#   docker_install   what is missing of: engine, iptables, mmdebstrap, Compose, buildx (minutes on a fresh machine)
#   docker_start     starts an engine unless one answers; fails where it does not come up
#   docker_stop      ends the engine that docker_start started, and no other
#   docker_offline   lets containers and builds reach nothing but one another and this machine
#   docker_online    undoes that
#   as_root          runs a command as root
#   apt_install      installs Debian packages

COMPOSE_VERSION=v5.0.2
BUILDX_VERSION=v0.38.2
# What only the engine's own tools need: kept out of the project, and between runs.
DOCKER_STATE=${DOCKER_STATE:-/tmp/poolhouse-docker-$(id -u)}
docker_plugins=${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins
# Of the engine that this very process started: another run's goes on.
docker_pid=$DOCKER_STATE/dockerd.$$.pid

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo --non-interactive "$@"
    else
        echo "root is needed for: $*" >&2
        return 1
    fi
}

apt_install() {
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "$@" >/dev/null
}

docker_install() {
    # One by one: Debian's docker.io would take the place of the engine that a machine has already.
    local missing=()
    command -v dockerd >/dev/null || docker info >/dev/null 2>&1 || missing+=(docker.io)
    command -v iptables >/dev/null || missing+=(iptables)
    command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
    if [ ${#missing[@]} -gt 0 ]; then apt_install "${missing[@]}"; fi
    # Versions are told at link time: without them Compose takes buildx for too old.
    docker compose version >/dev/null 2>&1 || docker_plugin compose "github.com/docker/compose/v5/cmd@$COMPOSE_VERSION" \
        "github.com/docker/compose/v5/internal.Version=$COMPOSE_VERSION"
    docker buildx version >/dev/null 2>&1 || docker_plugin buildx "github.com/docker/buildx/cmd/buildx@$BUILDX_VERSION" \
        "github.com/docker/buildx/version.Version=$BUILDX_VERSION"
    docker compose version && docker buildx version
}

# Where dockerd and iptables are, and Go's own place: not on every PATH.
PATH=$PATH:/usr/sbin:/sbin
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin

# docker_plugin NAME MODULE@VERSION VARIABLE=VALUE: builds a plugin of the docker command from its Go module.
docker_plugin() (
    set -eu
    bin=$(mktemp -d)
    trap 'rm -rf "$bin"' EXIT
    # Not optimised: it compiles in two thirds of the time, and waits for the engine anyway.
    GOBIN=$bin go install -gcflags "all=-N -l" -ldflags "-s -w -X $3" "$2"
    mkdir -p "$docker_plugins"
    # In one step: a plugin that is half there must not be found.
    mv "$bin"/* "$docker_plugins/docker-$1.new"
    mv "$docker_plugins/docker-$1.new" "$docker_plugins/docker-$1"
)

docker_start() {
    if docker info >/dev/null 2>&1; then
        echo "a Docker engine answers: $(docker version --format '{{.Server.Version}}')"
        return
    fi
    mkdir -p "$DOCKER_STATE"
    # The shell writes its own process id and becomes the engine: sudo's would be another one. The socket is for this
    # user's group; a group `docker` need not be there.
    # A session of its own: what interrupts this script must not end the engine before the containers on it.
    rm -f "$docker_pid"
    as_root setsid --wait sh -c 'echo $$ >"$1"; exec dockerd --group "$2"' sh "$docker_pid" "$(id -g)" \
        >"$DOCKER_STATE/dockerd.log" 2>&1 </dev/null &
    local starter=$!
    for _ in $(seq 300); do
        if docker info >/dev/null 2>&1; then
            echo "started a Docker engine: $(docker version --format '{{.Server.Version}}')"
            return
        fi
        if ! kill -0 "$starter" 2>/dev/null; then break; fi
        sleep 0.2
    done
    echo "the Docker engine did not come up:" >&2
    tail -n 20 "$DOCKER_STATE/dockerd.log" >&2
    return 1
}

docker_stop() {
    [ -s "$docker_pid" ] || return 0
    local pid
    pid=$(cat "$docker_pid")
    as_root rm -f "$docker_pid"
    as_root kill "$pid" 2>/dev/null || return 0
    for _ in $(seq 150); do
        as_root kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.2
    done
    as_root kill -9 "$pid" 2>/dev/null || true
}

# What containers and build steps send out of this machine is refused at once; among themselves, and with this machine,
# they go on. Everything that Docker forwards passes DOCKER-USER.
docker_offline() { as_root iptables -I DOCKER-USER -o "$(docker_way_out)" -j REJECT; }

docker_online() { as_root iptables -D DOCKER-USER -o "$(docker_way_out)" -j REJECT 2>/dev/null || true; }

docker_way_out() { awk '$2 == "00000000" { print $1; exit }' /proc/net/route; }
