# Sourced: the commands that the README gives, so that what is tested is what is promised.

# readme_command NUMBER PART: the NUMBERth command of the README's shell blocks, which must
# contain PART. A block is ```sh, with one command a line, or ```console, where commands follow `$ `.
readme_command() {
  local number=$1 part=$2 command
  if [[ ! -f README.md ]]; then
    echo 'README.md is missing: its first two commands are what is tested' >&2
    return 1
  fi
  command=$(awk -v wanted="$number" '
    /^ *```/ {
      if (block) { block = ""; next }
      block = $0
      sub(/^ *```/, "", block)
      if (block == "") block = "text"
      next
    }
    block == "console" && sub(/^ *\$ /, "") { if (++count == wanted) print; next }
    (block == "sh" || block == "bash") && NF && !/^ *#/ { sub(/^ +/, ""); if (++count == wanted) print }
  ' README.md)
  if [[ $command != *"$part"* ]]; then
    echo "README.md: command $number of its sh blocks must contain \`$part\`, and is: ${command:-(none)}" >&2
    return 1
  fi
  printf '%s\n' "$command"
}
