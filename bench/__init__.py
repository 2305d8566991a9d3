"""What a training step costs at Stable Diffusion 1.5's full size, beside what others do.

python -m bench            one step and one picture, in turns: ours, Textual Inversion, the paper's
python -m bench --shares   what each ingredient of ours is worth, and a profile
python -m bench.training   steps of ours that reach the official recipe's score, on Toonville
"""
