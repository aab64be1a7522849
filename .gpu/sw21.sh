# sweeps of notebook 21, in order of need; usage: sw21.sh workers
L="python3 -m latentkit.runs"
W=$1; T="$TAB --workers $W --timeout 560"
N="--grid latent=64 --grid widths=[16,32,32]"; F="--grid latent=400 --grid widths=[16,32,64] --grid passes=100"
S=${2:-all}
[ $S = all -o $S = a ] && $L sweep 21 $T $N --grid passes=20 --grid members=6 --grid alpha=0.1,1.0,2.0,5.0,10.0 --grid beta=0.05,0.2,0.5,1.0,2.0
[ $S = all -o $S = b ] && $L sweep 21 $T $F --grid members=6,4,2,1 --grid alpha=2.0 --grid beta=0.5
[ $S = all -o $S = c ] && $L sweep 21 $T $F --grid members=6,1 --grid alpha=5.0 --grid beta=0.2,0.5
[ $S = all -o $S = d ] && $L sweep 21 $T $F --grid members=6,1 --grid alpha=1.0 --grid beta=1.0
[ $S = all -o $S = e ] && $L sweep 21 $T $N --grid passes=20,100 --grid members=4,2,1 --grid alpha=2.0 --grid beta=0.5
[ $S = all -o $S = e ] && $L sweep 21 $T $N --grid passes=100 --grid members=6 --grid alpha=2.0 --grid beta=0.5
[ $S = all -o $S = f ] && $L sweep 21 $T $F --grid members=6,1 --grid decay=1.0 --grid alpha=2.0 --grid beta=0.5
true
