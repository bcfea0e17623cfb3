# Smoke test of kcat: sh with_kcat.sh ADDRESS TOPIC CODEC. It makes the topic by using it, with the partitions of the listener.
set -e
number=0
while [ $number -lt 50 ]; do
    value=$(i=0; while [ $i -lt 20 ]; do printf 'value %d ' $number; i=$((i + 1)); done; printf .)
    printf 'key %d\t%s\n' $number "${value%.}" | kcat -P -b "$1" -t "$2" -z "$3" -X partitioner=murmur2_random -K '\t' -H "h=$number"
    number=$((number + 1))
done
count=$(kcat -C -q -b "$1" -t "$2" -o beginning -e -f '%k\n' | wc -l)
[ "$count" -eq 50 ] && echo ok
