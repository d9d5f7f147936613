from trainer.cli.program import program

program()
