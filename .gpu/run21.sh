T0=$(date +%s)
export PYTHONPATH=$PWD LATENTKIT_ROOT=$PWD OMP_NUM_THREADS=1 TQDM_DISABLE=1 MPLBACKEND=agg
python3 -m pip install -q --no-deps --no-index .whl/*.whl 2>&1 | tail -3
echo "installed $(( $(date +%s)-T0 ))"
i=0
for pw in a:6 b:4 c:4 d:2 e:4 f:2; do
  p=${pw%%:*}; w=${pw##*:}
  (TAB="" bash .gpu/sw21.sh $w $p > $OUT/log_$p 2>&1; echo "part $p ended at $(( $(date +%s)-T0 ))") &
done
for k in $(seq 1 33); do sleep 10; jobs -r | grep -q . || break; done
echo "phase 1 over at $(( $(date +%s)-T0 ))"
pkill -f latentkit.runs; sleep 2; pkill -f ipykernel; pkill -f multiprocessing
for p in a b e c d f; do grep -h "^\[" $OUT/log_$p | cut -c1-160 | tail -2; (TAB="--table llaae_21_losses --merge" timeout -s INT -k 15 25 bash .gpu/sw21.sh 1 $p 2>&1) | grep -v WARN | tail -4 | cut -c1-300; done
cp figures/teaching/llaae_21* $OUT/
echo "all at $(( $(date +%s)-T0 ))"; nvidia-smi --query-gpu=name,memory.used --format=csv
