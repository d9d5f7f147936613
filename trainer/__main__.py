from trainer.cli.main import program

program()
