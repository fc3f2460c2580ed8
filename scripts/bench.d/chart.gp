# SPDX-License-Identifier: GPL-2.0-only
#
# gnuplot -e "data='file'; out='file.svg'; facts='text'" chart.gp
# A line of data: "operation" ratio with 1 process, ratio with 2.

set terminal svg size 1100,620 noenhanced font "sans,13" background "#ffffff"
set output out
set title "test_hotmirror against test_hmm: how many times as fast (" . facts . ")"
set style data histogram
set style histogram clustered gap 1
set style fill solid 0.9 border -1
set boxwidth 0.9
set logscale y 2
set yrange [0.5:*]
set ylabel "time of test_hmm / time of test_hotmirror (log scale)"
set grid ytics lc rgb "#cccccc"
set xtics rotate by -35 nomirror scale 0
set key outside top center horizontal
set rmargin 14
set arrow from graph 0, first 1 to graph 1, first 1 nohead lw 2 lc rgb "#444444" front
set arrow from graph 0, first 2 to graph 1, first 2 nohead dt 2 lc rgb "#444444" front
plot data using 2:xtic(1) title "1 process" lc rgb "#2c7fb8", \
     '' using 3 title "2 processes" lc rgb "#7fcdbb"
