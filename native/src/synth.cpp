// synth
