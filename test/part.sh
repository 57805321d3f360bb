# Sourced by the scripts beside it: `part NAME CMD...` runs CMD and keeps what it
# took; `parts` prints the sums. A part that fails ends the script, times printed.
part_names=()
part_took=()
part() {
	local name=$1 from=$SECONDS rc=0
	shift
	echo "== $name"
	"$@" || rc=$?
	part_names+=("$name")
	part_took+=("$((SECONDS - from))")
	return $rc
}
parts() {
	local i
	for i in "${!part_names[@]}"; do printf '%6d s  %s\n' "${part_took[$i]}" "${part_names[$i]}"; done
}
