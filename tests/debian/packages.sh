# To be sourced by scripts that make systems of Debian packages for tests.

export DEBIAN_FRONTEND=noninteractive
readonly DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# install_missing COMMAND:PACKAGE…: what has the commands that are not there.
install_missing() {
  local missing=() entry
  for entry in "$@"; do
    command -v "${entry%%:*}" >/dev/null || missing+=("${entry##*:}")
  done
  ((${#missing[@]})) || return 0
  say "installing ${missing[*]}"
  apt-get -qq update
  apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 install "${missing[@]}" >/dev/null
}

# debian_tree SUITE PACKAGES TREE CUSTOMIZE…: a minimal Debian without documentation. CUSTOMIZE is a
# command with its arguments, which gets the tree as its last one.
debian_tree() {
  local suite=$1 packages=$2 tree=$3 hook
  hook=$(printf '%q ' "${@:4}")
  say "making a Debian $suite of packages"
  mmdebstrap --quiet --variant=minbase --mode=root --include="$packages" \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook="$hook\"\$1\"" \
    "$suite" "$tree" "${LKC_DEBIAN_MIRROR:-$(mirror)}" >&2
}

# Where this machine's apt has Debian.
mirror() {
  apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' | sed -n 1p
}

codename() {
  (. /etc/os-release && printf '%s\n' "$VERSION_CODENAME")
}

# timed WHAT COMMAND…
timed() {
  local started=$SECONDS
  "${@:2}"
  printf -- '-- %s: %s s\n' "$1" $((SECONDS - started))
}

say() {
  printf '%s\n' "$*" >&2
}
