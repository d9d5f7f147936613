from trainer.cli import program

program()
